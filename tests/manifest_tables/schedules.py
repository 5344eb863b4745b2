"""Schedules: their own rules, and that their template has a job's."""

from __future__ import annotations

from typing import Any

from manifest_tables.job import GOOD
from manifest_tables.rows import DROP, Row, Table, Update

TEST = "spec.jobTemplate.spec.data.test.uri"


def at(schedule: str) -> dict[str, Any]:
    return {"spec.schedule": schedule}


EXPRESSIONS = ("@daily", "*/15 0-6,22 * JAN-MAR MON-FRI", "0-59/5 * * * *", " 0  2 * * * ")
FIVE = ("must have the five fields",)
SCHEDULE = Table(
    good={
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionSchedule",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": GOOD["spec"]}},
    },
    accepted=(
        Row("the good one"),
        Row("name of 39 characters", {"metadata.name": "x" * 39}),
        *(Row(schedule, at(schedule)) for schedule in EXPRESSIONS),
        Row("zone", {"spec.timeZone": "America/Argentina/Buenos_Aires"}),
        Row("offset as a zone", {"spec.timeZone": "Etc/GMT+5"}),
        Row(
            "all fields",
            {
                "spec.suspend": True,
                "spec.concurrencyPolicy": "Replace",
                "spec.startingDeadlineSeconds": 600,
                "spec.successfulJobsHistoryLimit": 0,
                "spec.failedJobsHistoryLimit": 100,
                "spec.jobTemplate.metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
            },
        ),
        Row("day", {TEST: "s3://bucket/{slot:%Y-%m-%d}.npz"}),
        Row("day before, in folders", {TEST: "days/{slot-1d:%Y/%m/%d}/*.npz"}),
        Row(
            "window of days",
            {
                "spec.jobTemplate.spec.data.train": {
                    "uris": ["days/{slots-1d:1d*28:%Y-%m-%d}.parquet", "old.parquet"],
                    "missing": "Skip",
                    "minimum": 20,
                }
            },
        ),
        Row("other braces", {TEST: "{model}/test.npz"}),
    ),
    refused=(
        Row(
            "name too long",
            {"metadata.name": "x" * 40},
            "metadata.name",
            ("at most 39 characters",),
        ),
        Row("no template", {"spec.jobTemplate": DROP}, "spec.jobTemplate", hints=("is required",)),
        Row("no schedule", {"spec.schedule": DROP}, "spec.schedule", hints=("is required",)),
        Row("zone in the schedule", at("TZ=UTC 0 2 * * *"), "spec.schedule", ("spec.timeZone",)),
        Row("cron's zone", at("CRON_TZ=UTC 0 2 * * *"), "spec.schedule", ("spec.timeZone",)),
        Row("six fields", at("0 0 2 * * *"), "spec.schedule", FIVE),
        Row("four fields", at("0 2 * *"), "spec.schedule", FIVE),
        Row("reboot", at("@reboot"), "spec.schedule", FIVE),
        Row("interval", at("@every 5m"), "spec.schedule", FIVE),
        Row("step after a value", at("59/1 * * * *"), "spec.schedule", ("0-59/15",)),
        Row("step after a value in a list", at("0 1,2/3 * * *"), "spec.schedule", ("0-59/15",)),
        Row("step after a name", at("0 0 * JAN/2 *"), "spec.schedule", ("0-59/15",)),
        Row("zone of a path", {"spec.timeZone": "../etc"}, "spec.timeZone", hints=("must",)),
        Row("policy", {"spec.concurrencyPolicy": "Skip"}, "spec.concurrencyPolicy", ("Forbid",)),
        Row(
            "deadline of nothing",
            {"spec.startingDeadlineSeconds": 0},
            "spec.startingDeadlineSeconds",
            hints=("at least 1",),
        ),
        Row(
            "history below 0",
            {"spec.failedJobsHistoryLimit": -1},
            "spec.failedJobsHistoryLimit",
            hints=("at least 0",),
        ),
        Row("placeholder of nothing", {TEST: "{slot}.npz"}, TEST, ("a placeholder must be such",)),
        Row("placeholder's unit", {TEST: "{slot-1m:%Y}"}, TEST, ("a placeholder must be such",)),
        Row("placeholder not closed", {TEST: "{slot:%Y"}, TEST, ("a placeholder must be such",)),
        Row(
            "window of months",
            {"spec.jobTemplate.spec.data.train": {"uris": ["{slots-1m:1d*2:%Y}.npz"]}},
            "spec.jobTemplate.spec.data.train.uris[0]",
            ("a placeholder must be such",),
        ),
        Row(
            "a rule of a job",
            {"spec.jobTemplate.spec.gatePolicyRef": {"name": "strict"}},
            "spec.jobTemplate.spec.gates",
            ("exactly one of gates, gatePolicyRef",),
        ),
        Row(
            "a gate of a job",
            {"spec.jobTemplate.spec.gates.0.margin": 5},
            "spec.jobTemplate.spec.gates[0]",
            ("0.05 is 5 points",),
        ),
        Row(
            "a field of no job",
            {"spec.jobTemplate.spec.epochs": 5},
            "spec.jobTemplate.spec.epochs",
            hints=("is not a field",),
        ),
    ),
    updates=(
        Update("the template may change", {}, {"spec.jobTemplate.spec.seed": 5}),
        Update("the schedule may change", {}, at("@hourly")),
    ),
)
