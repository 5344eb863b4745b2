"""CompressionJobs that are accepted, at the border of each rule."""

from __future__ import annotations

from manifest_tables.job import (
    CANDIDATE,
    FASTER,
    MEASURED,
    NO_TRAIN,
    OF_CHANNEL,
    REGRESSION,
    gate,
    prune,
    quantize,
)
from manifest_tables.rows import DROP, Row

ACCEPTED = (
    Row("the good one"),
    Row("name of 52 characters", {"metadata.name": "x" * 52}),
    Row("finetune with train", {"spec.recipe.finetune.epochs": 1}),
    Row("a stage may do nothing", {"spec.recipe.allowNoop": True}),
    Row("device of the recipe", {"spec.recipe.device": "cuda"}),
    Row(
        "device of a recipe that only tunes",
        {"spec.recipe": {"device": "cuda", "finetune": {"epochs": 1}}},
    ),
    Row(
        "device of a recipe that only quantizes",
        {"spec.recipe": {"device": "cpu", "quantize": {"method": "dynamic"}}},
    ),
    Row("taylor with train", {"spec.recipe.prune.structured.importance": "taylor"}),
    Row(
        "static with calibration only",
        {**NO_TRAIN, "spec.data.calibration.uri": "c.npz", **quantize(method="static")},
    ),
    Row("static with train only", quantize(method="static")),
    Row("dynamic with neither", {**NO_TRAIN, **quantize(method="dynamic")}),
    Row(
        "early stopping with validation",
        {"spec.recipe.finetune": {"epochs": 1, "earlyStopping": {}}},
    ),
    Row("rmse of a regression", {**REGRESSION, **gate(kind="threshold", metric="rmse", max=1)}),
    Row("mse of a classifier", gate(kind="threshold", metric="mse", max=1)),
    Row("churn of a classifier", gate(kind="churn", max=0.1)),
    Row(
        "declared slice",
        {
            "spec.data.slices": [{"name": "site", "column": "site"}],
            "spec.gates.0.slices": [{"by": "site"}, {"by": "class"}],
        },
    ),
    Row("slice by class, none declared", {"spec.gates.0.slices": [{"by": "class"}]}),
    *(
        Row(f"scheme {scheme}", {"spec.model.uri": f"{scheme}://bucket/m.onnx"})
        for scheme in ("file", "s3", "gs", "abfs", "https")
    ),
    Row("candidate instead of a recipe", CANDIDATE),
    Row(
        "candidate that is declared",
        {
            **CANDIDATE,
            "spec.candidate.digest": f"sha256:{'0' * 64}",
            "spec.candidate.format": "onnx",
            "spec.candidate.meaning": "probabilities",
            "spec.stageDeadlineSeconds": {"convert": 60},
        },
    ),
    Row("candidate on each engine", {**CANDIDATE, "spec.engine": "kubeflow"}),
    Row("candidate against a channel", {**CANDIDATE, **OF_CHANNEL}),
    Row("candidate against a channel alone", {**CANDIDATE, **OF_CHANNEL, "spec.model": DROP}),
    Row("model that is only measured", MEASURED),
    Row(
        "model that is only measured, gates by reference",
        {"spec.recipe": DROP, "spec.gates": DROP, "spec.gatePolicyRef": {"name": "strict"}},
    ),
    Row("meaning of a file", {"spec.model.meaning": "probabilities"}),
    Row("weak baseline allowed", {"spec.allowWeakBaseline": True}),
    Row("dots within a name", {"spec.model.uri": "a..b/c"}),
    Row("absolute URL", {"spec.model.uri": "file:///models/m"}),
    Row("at sign after the host", {"spec.model.uri": "https://host/m@1.onnx"}),
    Row(
        "python with function",
        {"spec.data.train": {"uri": "d.py", "format": "python", "function": "load"}},
    ),
    *(
        Row(name, {"spec.data.train": {"uris": uris, **more}})
        for name, uris, more in (
            ("one of several addresses", ["a.csv"], {}),
            ("addresses and globs", ["s3://b/2024-05-*.parquet", "d/", "file:///x/[ab].csv"], {}),
            ("a thousand addresses", [f"s3://b/{i:04}{'x' * 1000}" for i in range(1000)], {}),
            ("missing address is an error", ["a.npy"], {"missing": "Fail", "format": "npy"}),
            ("all must exist or may be missing", ["a", "b"], {"missing": "Skip", "minimum": 2}),
            ("one must exist", ["a", "b"], {"missing": "Skip", "minimum": 1, "format": "csv"}),
        )
    ),
    Row("several addresses of test", {"spec.data.test": {"uris": ["a.npz", "b.npz"]}}),
    Row("column of times", {"spec.data.timeColumn": "day"}),
    Row("negative scale", {"spec.data.test.scale": -1}),
    Row("slice named kind", {"spec.data.slices": [{"name": "kind", "column": "y"}]}),
    Row("retrain alone", {"spec.recipe": {"retrain": {"epochs": 1}}}),
    Row("nm with defaults", prune(nm={})),
    Row("truncate", prune(truncate={"threshold": 1})),
    Row("round auto", prune(structured={"sparsity": 0.5, "round": "auto"})),
    Row("round 256", prune(structured={"sparsity": 0.5, "round": 256})),
    Row("weightOnly with bits", quantize(method="weightOnly", bits=4)),
    Row("auto that prefers size", quantize(prefer="size")),
    Row("percentile of percentile", quantize(calibration="percentile", percentile=99.9)),
    Row("size", gate(kind="size", max=0.5)),
    Row("speedup at batch 8", {"spec.gates.0": {**FASTER, "batch": 8}}),
    Row("threshold between", gate(kind="threshold", metric="accuracy", min=0.5, max=0.5)),
    Row("change between", gate(kind="change", metric="logLoss", min=-0.1, max=0.1)),
    Row("calibration with maxGain", gate(kind="calibration", max=0.1, maxGain=0.2)),
    Row("fidelity by error", gate(kind="fidelity", output="embedding", max=0.1)),
    Row(
        "fidelity by error and agreement",
        gate(kind="fidelity", output="embedding", max=0.1, min=0.95),
    ),
    Row(
        "targets and ignored outputs",
        {
            **gate(kind="fidelity", output="head", min=1.0),
            "spec.data.targets": {"head": "y2"},
            "spec.data.ignoredOutputs": ["embedding"],
        },
    ),
    Row("churn by class", gate(kind="churn", max=0.1, slices=[{"by": "class"}])),
    Row("p99 of 1000 pairs", {"spec.measure": {"percentiles": [99], "pairs": 1000}}),
    Row("integer written as float", {"spec.seed": 5.0}),
    Row("null is absent", {"spec.recipe.prune.unstructured": None, "spec.seed": None}),
    Row(
        "the channel's model as baseline",
        {"spec.baseline.kind": "Channel", "spec.promotion": {"channel": "production"}},
    ),
    Row("no gates in the list", {"spec.gates": []}),
    Row("status of a cluster", {"status": {"phase": "Running"}}),
)
