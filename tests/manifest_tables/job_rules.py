"""CompressionJobs that break one CEL rule each."""

from __future__ import annotations

from manifest_tables.job import FASTER, NO_TRAIN, REGRESSION, gate, prune, quantize
from manifest_tables.rows import DROP, Row

RULES_REFUSED = (
    Row("no gates", {"spec.gates": DROP}, "spec.gates", ("exactly one of gates, gatePolicyRef",)),
    Row(
        "recipe and reference",
        {"spec.recipeRef": {"name": "small"}},
        "spec.recipe",
        ("exactly one of recipe, recipeRef",),
    ),
    Row(
        "name too long",
        {"metadata.name": "x" * 53},
        "metadata.name",
        ("must be at most 52 characters",),
    ),
    Row(
        "finetune without train",
        {**NO_TRAIN, "spec.data.calibration.uri": "c.npz", "spec.recipe.finetune.epochs": 1},
        "spec.recipe.finetune",
        ("needs data.train",),
    ),
    Row(
        "taylor without train",
        {
            **NO_TRAIN,
            "spec.data.calibration.uri": "c.npz",
            "spec.recipe.prune.structured.importance": "taylor",
        },
        "spec.recipe.prune",
        ("taylor needs data.train",),
    ),
    Row(
        "static without calibration or train",
        {**NO_TRAIN, **quantize(method="static")},
        "spec.recipe.quantize",
        ("data.calibration or data.train",),
    ),
    Row(
        "auto without validation",
        {"spec.data.validation": DROP},
        "spec.recipe.quantize",
        ("auto needs data.validation",),
    ),
    Row(
        "early stopping without validation",
        {
            "spec.data.validation": DROP,
            "spec.recipe.quantize": DROP,
            "spec.recipe.finetune": {"epochs": 1, "earlyStopping": {}},
        },
        "spec.recipe.finetune",
        ("earlyStopping needs data.validation",),
    ),
    Row(
        "rmse of a classifier",
        gate(kind="threshold", metric="rmse", max=1),
        "spec.gates",
        ("rmse", "regression"),
    ),
    Row(
        "value of a classifier",
        {"spec.model.meaning": "value"},
        "spec.model.meaning",
        ("for data.task regression",),
    ),
    Row("accuracy of a regression", REGRESSION, "spec.gates", ("accuracy", "classification")),
    Row(
        "churn of a regression",
        {**REGRESSION, **gate(kind="churn", max=0.1)},
        "spec.gates",
        ("churn and calibration need",),
    ),
    Row(
        "slice that is not among the declared",
        {
            "spec.data.slices": [{"name": "site", "column": "site"}],
            "spec.gates.0.slices": [{"by": "region"}],
        },
        "spec.gates",
        ("slices.by must be class or a name",),
    ),
    Row(
        "slice where none is declared",
        {"spec.gates.0.slices": [{"by": "region"}]},
        "spec.gates",
        ("slices.by must be class or a name",),
    ),
    Row("scheme not allowed", {"spec.model.uri": "ftp://x/m"}, "spec.model.uri", ("scheme",)),
    Row("http is not https", {"spec.data.test.uri": "http://x/t.npz"}, "spec.data.test.uri", ()),
    Row("path out of the folder", {"spec.model.uri": "a/../../b"}, "spec.model.uri", ("'..'",)),
    Row("absolute path", {"spec.model.uri": "/models/m"}, "spec.model.uri", ("file:///",)),
    Row(
        "credentials in the URL",
        {"spec.model.uri": "https://me:secret@host/m.onnx"},
        "spec.model.uri",
        ("credentials",),
    ),
    Row(
        "python without function",
        {"spec.data.train": {"uri": "d.py", "format": "python"}},
        "spec.data.train",
        ("needs function",),
    ),
    Row(
        "function without python",
        {"spec.data.train.function": "load"},
        "spec.data.train",
        ("only for format python",),
    ),
    Row("scale 0", {"spec.data.test.scale": 0}, "spec.data.test.scale", ("must not be 0",)),
    Row(
        "slice named class",
        {"spec.data.slices": [{"name": "class", "column": "y"}]},
        "spec.data.slices[0].name",
        ("built in",),
    ),
    Row(
        "pods shared on an engine with one a pool",
        {"spec.engine": "job", "spec.placement": {"fuse": "None"}},
        "spec.placement",
        ("fuse needs engine kubeflow",),
    ),
    Row(
        "pods shared by default on the default engine",
        {"spec.placement": {"fuse": "Compute"}},
        "spec.placement",
        ("fuse needs engine kubeflow",),
    ),
    *(
        Row(
            f"validate in one pod with the rest and on another pool, {name}",
            {"spec.engine": "kubeflow", "spec.placement": {"fuse": "All", **pools}},
            "spec.placement",
            ("fuse All", "leave out placement.measure"),
        )
        for name, pools in (
            ("named", {"compute": "gpu-a", "measure": "edge"}),
            ("beside the default", {"measure": "edge"}),
        )
    ),
    Row(
        "the baseline of no channel",
        {"spec.baseline.kind": "Channel"},
        "spec.baseline",
        ("needs promotion.channel",),
    ),
    Row(
        "no stage at all",
        {"spec.recipe": {}},
        "spec.recipe",
        ("at least one of prune, finetune, quantize",),
    ),
    Row("prune nothing", prune(), "spec.recipe.prune", ("exactly one of",)),
    Row(
        "prune in two ways",
        prune(structured={"sparsity": 0.5}, nm={}),
        "spec.recipe.prune",
        ("exactly one of",),
    ),
    Row(
        "round 0",
        prune(structured={"sparsity": 0.5, "round": 0}),
        "spec.recipe.prune.structured.round",
        ("auto or an integer",),
    ),
    Row(
        "round by a word",
        prune(structured={"sparsity": 0.5, "round": "even"}),
        "spec.recipe.prune.structured.round",
        ("auto or an integer",),
    ),
    Row("4 of 4", prune(nm={"keep": 4}), "spec.recipe.prune.nm", ("keep must be less than of",)),
    Row(
        "weightOnly without bits",
        quantize(method="weightOnly"),
        "spec.recipe.quantize",
        ("bits belongs",),
    ),
    Row("bits of auto", quantize(bits=4), "spec.recipe.quantize", ("bits belongs",)),
    Row(
        "preference without a choice",
        quantize(method="static", prefer="size"),
        "spec.recipe.quantize",
        ("only for method auto",),
    ),
    Row(
        "percentile of min-max",
        quantize(percentile=99),
        "spec.recipe.quantize",
        ("only for calibration percentile",),
    ),
    Row("metric missing", gate(kind="threshold", min=1), "spec.gates[0]", ("metric is needed",)),
    Row(
        "metric too much",
        gate(kind="size", max=1, metric="accuracy"),
        "spec.gates[0]",
        ("metric is needed",),
    ),
    Row(
        "margin missing",
        gate(kind="nonInferiority", metric="accuracy"),
        "spec.gates[0]",
        ("margin is needed",),
    ),
    Row(
        "points as margin",
        gate(kind="nonInferiority", metric="accuracy", margin=5),
        "spec.gates[0]",
        ("0.05 is 5 points",),
    ),
    Row(
        "the whole range as margin",
        gate(kind="nonInferiority", metric="auc", margin=1),
        "spec.gates[0]",
        ("0.05 is 5 points",),
    ),
    Row(
        "points as margin of a slice",
        gate(
            kind="nonInferiority",
            metric="macroF1",
            margin=0.05,
            slices=[{"by": "class", "margin": 5}],
        ),
        "spec.gates[0]",
        ("0.05 is 5 points",),
    ),
    Row(
        "per cent as churn",
        gate(kind="churn", max=5),
        "spec.gates[0]",
        ("0.05 is 5 %",),
    ),
    Row(
        "per cent as calibration",
        gate(kind="calibration", max=2),
        "spec.gates[0]",
        ("0.05 is 5 %",),
    ),
    Row(
        "per cent as threshold",
        gate(kind="threshold", metric="accuracy", min=95),
        "spec.gates[0]",
        ("0.95 is 95 %",),
    ),
    Row(
        "threshold that nothing misses",
        gate(kind="threshold", metric="accuracy", min=-5),
        "spec.gates[0]",
        ("0.95 is 95 %",),
    ),
    Row(
        "per cent as upper threshold",
        gate(kind="threshold", metric="ece", max=5),
        "spec.gates[0]",
        ("0.95 is 95 %",),
    ),
    Row(
        "maxGain of a size",
        gate(kind="size", max=1, maxGain=1),
        "spec.gates[0]",
        ("maxGain is only for",),
    ),
    Row(
        "neither min nor max",
        gate(kind="threshold", metric="accuracy"),
        "spec.gates[0]",
        ("min or max is needed",),
    ),
    Row("size with min", gate(kind="size", min=0.1), "spec.gates[0]", ("take max, not min",)),
    Row("speedup with max", gate(kind="speedup", max=3), "spec.gates[0]", ("takes min, not max",)),
    Row(
        "margin and min",
        {"spec.gates.0.min": 0.1},
        "spec.gates[0]",
        ("takes margin, not min or max",),
    ),
    Row(
        "min above max",
        gate(kind="change", metric="accuracy", min=0.1, max=-0.1),
        "spec.gates[0]",
        ("min must be at most max",),
    ),
    Row("batch of a size", gate(kind="size", max=1, batch=2), "spec.gates[0]", ("batch is only",)),
    Row(
        "slices of a speedup",
        {"spec.gates.0": {**FASTER, "slices": [{"by": "class"}]}},
        "spec.gates[0]",
        ("slices are not for",),
    ),
    Row(
        "fidelity without an output",
        gate(kind="fidelity", max=0.1),
        "spec.gates[0]",
        ("output is needed by kind fidelity",),
    ),
    Row(
        "output of a size",
        gate(kind="size", max=1, output="embedding"),
        "spec.gates[0]",
        ("output is needed by kind fidelity",),
    ),
    Row(
        "fidelity without limits",
        gate(kind="fidelity", output="embedding"),
        "spec.gates[0]",
        ("min or max is needed",),
    ),
    Row(
        "fidelity of a negative error",
        gate(kind="fidelity", output="embedding", max=-0.1),
        "spec.gates[0]",
        ("a relative error of at least 0",),
    ),
    Row(
        "fidelity of more than all answers",
        gate(kind="fidelity", output="embedding", min=1.1),
        "spec.gates[0]",
        ("a share from 0 to 1",),
    ),
    Row(
        "slices of fidelity",
        {
            "spec.gates.0": {
                "name": "kept",
                "kind": "fidelity",
                "output": "embedding",
                "max": 0.1,
                "slices": [{"by": "class"}],
            }
        },
        "spec.gates[0]",
        ("slices are not for",),
    ),
    Row(
        "fidelity of an ignored output",
        {
            **gate(kind="fidelity", output="embedding", max=0.1),
            "spec.data.ignoredOutputs": ["embedding"],
        },
        "spec.gates",
        ("not in data.ignoredOutputs",),
    ),
    Row(
        "ignored output with a target",
        {"spec.data.ignoredOutputs": ["head"], "spec.data.targets": {"head": "y2"}},
        "spec.data.ignoredOutputs",
        ("must have no target",),
    ),
    Row(
        "p99 of 400 pairs",
        {"spec.measure.percentiles": [99]},
        "spec.measure.pairs",
        ("at least 1000",),
    ),
)
