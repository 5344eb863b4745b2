"""The real API server gives the answers that `fulcrum validate` gives, row by row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl, KubectlError
from manifest_tables.all import accepted, name_of, refused, updates
from manifest_tables.job import GOOD
from manifest_tables.rows import DROP, Row, Table, Update, changed
from manifest_tables.server import Server

from fulcrum_operator.resources.names import OUR_KINDS, Kind

KINDS: dict[str, Kind] = {kind.kind: kind for kind in OUR_KINDS}
NAMESPACE = "objects"


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> Iterator[Server]:
    """The server as an administrator, and one namespace for all rows: they leave nothing there."""
    control_plane.kubectl("create", "namespace", NAMESPACE)
    with Server(control_plane.admin_kubeconfig) as found:
        yield found
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize(("table", "row"), accepted(), ids=name_of)
def test_accepted(server: Server, table: Table, row: Row) -> None:
    manifest = changed(table.good, row.changes)
    answer = server.create(KINDS[table.kind], manifest, NAMESPACE)
    assert answer.accepted, answer.message


ONLINE = [(table, row) for table, row in refused() if not row.offline]


@pytest.mark.parametrize(("table", "row"), ONLINE, ids=name_of)
def test_refused(server: Server, table: Table, row: Row) -> None:
    manifest = changed(table.good, row.changes)
    answer = server.create(KINDS[table.kind], manifest, NAMESPACE)
    assert answer.status in (400, 422), answer
    where = row.at if row.server_at is None else row.server_at
    assert all(word in answer.message for word in (where, *row.words)), answer.message


@pytest.mark.parametrize(("table", "row"), updates(), ids=name_of)
def test_updates(server: Server, table: Table, row: Update) -> None:
    kind = KINDS[table.kind]
    before = changed(table.good, row.before)
    made = server.create(kind, before, NAMESPACE, keep=True)
    assert made.accepted, made.message
    try:
        version = {"metadata.resourceVersion": made.body["metadata"]["resourceVersion"]}
        answer = server.replace(kind, changed(before, row.after | version), NAMESPACE)
    finally:
        server.delete(kind, before["metadata"]["name"], NAMESPACE)
    assert answer.accepted == (not row.words), answer.message
    if row.words:
        assert all(word in answer.message for word in (row.at, *row.words)), answer.message


def test_a_manifest_is_applied_again_and_again(kubectl: Kubectl, namespace: str) -> None:
    """Defaults that the server filled in are no change, however they are written later."""

    def apply(changes: dict[str, Any]) -> str:
        manifest = json.dumps(changed(GOOD, changes))
        words = ("apply", "--server-side", f"--namespace={namespace}", "-f", "-")
        return kubectl(*words, stdin=manifest)

    for changes in ({}, {}, {"spec.baseline": {}, "spec.backoffLimit": 3}, {"spec.suspend": True}):
        assert "serverside-applied" in apply(changes)
    with pytest.raises(KubectlError, match="is immutable"):
        apply({"spec.recipe.prune": DROP})


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            "cpj.spec.gates",
            ("Conditions that the candidate must meet", "enum: nonInferiority", "does not block"),
        ),
        ("cpj.spec.recipeRef", ("Reference to a recipe object",)),
        ("cpj.status.conditions", ("Conditions of the job", "lastTransitionTime")),
        ("crecipe.spec.quantize.method", ("static needs calibration data",)),
        ("cgp.spec.gates.margin", ("How much worse is still as good",)),
        ("mch.status.holds", ("nothing is promoted automatically",)),
        ("mp.spec.from", ("expected to hold",)),
    ],
)
def test_explain_teaches(kubectl: Kubectl, field: str, words: tuple[str, ...]) -> None:
    text = " ".join(kubectl("explain", field).split())
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "crds").glob("*.yaml")), ids=str
)
def test_schemas_are_served_as_they_are(kubectl: Kubectl, path: Path) -> None:
    """A schema that is not structural, or a name that is taken, shows in conditions only."""
    name = yaml.safe_load(path.read_text())["metadata"]["name"]
    crd = json.loads(kubectl("get", "customresourcedefinition", name, "--output=json"))
    holds = {each["type"]: each["status"] for each in crd["status"]["conditions"]}
    assert holds == {"NamesAccepted": "True", "Established": "True"}
