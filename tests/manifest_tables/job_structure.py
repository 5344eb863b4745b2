"""CompressionJobs of the wrong form: fields, types, ranges."""

from __future__ import annotations

from manifest_tables.job import SHARES, prune
from manifest_tables.rows import DROP, Row

STRUCTURE_REFUSED = (
    Row(
        "another kind",
        {"kind": "CompresionJob"},
        "kind",
        hints=("did you mean CompressionJob?",),
        offline=True,
    ),
    Row("no kind", {"kind": DROP}, "kind", hints=("required", "CompressionJob"), offline=True),
    Row(
        "another version",
        {"apiVersion": "fulcrum.dev/v1"},
        "apiVersion",
        hints=("v1alpha1",),
        offline=True,
    ),
    Row("no version", {"apiVersion": DROP}, "apiVersion", hints=("required",), offline=True),
    Row("unknown field at the top", {"specs": {}}, "specs", hints=("did you mean spec?",)),
    Row("no metadata", {"metadata": DROP}, "metadata", hints=("required",), offline=True),
    Row(
        "metadata as text",
        {"metadata": "mnist"},
        "metadata",
        hints=("must be a mapping",),
        offline=True,
    ),
    Row(
        "metadata misspelled",
        {"metadata.lables": {}},
        "metadata.lables",
        hints=("did you mean labels?",),
    ),
    Row("no spec", {"spec": DROP}, "spec", hints=("required",)),
    Row("spec as list", {"spec": []}, "spec", hints=("must be a mapping, not a list",)),
    Row("no model", {"spec.model": DROP}, "spec.model", hints=("required",)),
    Row("null gates", {"spec.gates": None}, "spec.gates", hints=("exactly one of",)),
    Row("misspelled field", {"spec.modle": {}}, "spec.modle", hints=("did you mean model?",)),
    Row(
        "misspelled field deep inside",
        {"spec.recipe.prune.structured.sparcity": 0.5},
        "spec.recipe.prune.structured.sparcity",
        hints=("did you mean sparsity?",),
    ),
    Row(
        "snake case",
        {"spec.data.calibration_samples": 5},
        "spec.data.calibration_samples",
        hints=("did you mean calibrationSamples?",),
    ),
    Row("field unlike any", {"spec.zzz": 1}, "spec.zzz", hints=("is not a field", "recipe")),
    Row(
        "field of an outer mapping",
        {"spec.recipe.finetune.device": "cuda"},
        "spec.recipe.finetune.device",
        hints=("is not a field; it is a field of spec.recipe (",),
    ),
    Row(
        "field of an inner mapping",
        {"spec.learningRate": 0.1},
        "spec.learningRate",
        hints=("is not a field; it is a field of spec.recipe.finetune (",),
    ),
    Row(
        "field of an inner mapping, a little like one here",
        {"spec.test": {"uri": "t.npz"}},
        "spec.test",
        hints=("is not a field; it is a field of spec.data (",),
    ),
    Row(
        "field most like an unsupported stage",
        {"spec.recipe.retrian": {}},
        "spec.recipe.retrian",
        hints=("is not a field (",),
    ),
    Row(
        "field a little like an unsupported stage",
        {"spec.recipe.metric": "accuracy"},
        "spec.recipe.metric",
        hints=("is not a field (",),
    ),
    Row(
        "short field that begins like a long one",
        {"spec.gates.0.slices": [{"by": "class", "min": 0.5}]},
        "spec.gates[0].slices[0].min",
        hints=("is not a field (",),
    ),
    Row(
        "short field with a wrong letter",
        {"spec.model.url": "m.onnx"},
        "spec.model.url",
        hints=("did you mean uri?",),
    ),
    Row(
        "field of a supported and of an unsupported stage",
        {"spec.epochs": 3},
        "spec.epochs",
        hints=("is not a field; it is a field of spec.recipe.finetune (",),
    ),
    Row(
        "field of two inner mappings",
        {"spec.sparsity": 0.5},
        "spec.sparsity",
        hints=(
            "; it is a field of spec.recipe.prune.structured and spec.recipe.prune.unstructured (",
        ),
    ),
    Row(
        "field of many inner mappings",
        {"spec.uri": "m.onnx"},
        "spec.uri",
        hints=("; it is a field of spec.model, spec.candidate, spec.data.train and 3 more (",),
    ),
    Row(
        "field that only the operator writes",
        {"spec.runKey": "a"},
        "spec.runKey",
        hints=("is not a field (",),
    ),
    *(
        Row(f"{name} with a new line at its end", changes, at, hints=("must not be",))
        for name, changes, at in (
            (
                "digest",
                {"spec.model.digest": f"sha256:{'0' * 64}\n"},
                "spec.model.digest",
            ),
            (
                "function",
                {"spec.data.train": {"uri": "d.py", "format": "python", "function": "load\n"}},
                "spec.data.train.function",
            ),
            (
                "slice",
                {"spec.data.slices": [{"name": "site\n", "column": "site"}]},
                "spec.data.slices[0].name",
            ),
        )
    ),
    Row("unknown task", {"spec.data.task": "ranking"}, "spec.data.task", hints=("regression",)),
    Row(
        "misspelled value",
        {"spec.recipe.quantize.method": "statik"},
        "spec.recipe.quantize.method",
        hints=("did you mean static?", "weightOnly"),
    ),
    Row(
        "unknown metric", {"spec.gates.0.metric": "f1"}, "spec.gates[0].metric", hints=("macroF1",)
    ),
    Row(
        "sparsity 0",
        prune(structured={"sparsity": 0}),
        "spec.recipe.prune.structured.sparsity",
        hints=("must not be 0", "above 0 and below 1"),
    ),
    Row(
        "sparsity 1",
        prune(unstructured={"sparsity": 1}),
        "spec.recipe.prune.unstructured.sparsity",
        hints=("must not be 1", "above 0 and below 1"),
    ),
    Row(
        "sparsity as text",
        prune(structured={"sparsity": "50%"}),
        "spec.recipe.prune.structured.sparsity",
        hints=("must be a number, not '50%'",),
    ),
    Row(
        "allowNoop as text",
        {"spec.recipe.allowNoop": "yes"},
        "spec.recipe.allowNoop",
        hints=("true or false",),
    ),
    Row(
        "device that there is not",
        {"spec.recipe.device": "gpu"},
        "spec.recipe.device",
        hints=("auto", "cpu", "cuda"),
    ),
    Row("seed below 0", {"spec.seed": -1}, "spec.seed", hints=("at least 0",)),
    Row("seed too large", {"spec.seed": 2**32}, "spec.seed", hints=("4294967295",)),
    Row(
        "seed beyond 64 bits",
        {"spec.seed": 2**70},
        "spec.seed",
        hints=("an integer",),
        offline=True,
    ),
    Row("seed with a fraction", {"spec.seed": 0.5}, "spec.seed", hints=("an integer, not 0.5",)),
    Row("true as number", {"spec.seed": True}, "spec.seed", hints=("not true",)),
    Row("text as flag", {"spec.suspend": "yes"}, "spec.suspend", hints=("true or false",)),
    Row(
        "epochs 0", {"spec.recipe.finetune.epochs": 0}, "spec.recipe.finetune.epochs", hints=("1",)
    ),
    Row("epochs missing", {"spec.recipe.finetune": {}}, "spec.recipe.finetune.epochs", hints=()),
    Row(
        "margin below 0",
        {"spec.gates.0.margin": -0.1},
        "spec.gates[0].margin",
        hints=("at least 0",),
    ),
    Row(
        "margin infinite",
        {"spec.gates.0.margin": float("inf")},
        "spec.gates[0].margin",
        hints=(),
        offline=True,
    ),
    Row(
        "margin NaN",
        {"spec.gates.0.margin": float("nan")},
        "spec.gates[0].margin",
        hints=("finite",),
        offline=True,
    ),
    Row(
        "confidence 1",
        {"spec.gates.0.confidence": 1},
        "spec.gates[0].confidence",
        hints=("0.9999",),
    ),
    Row("gate named badly", {"spec.gates.0.name": "A b"}, "spec.gates[0].name", hints=("matches",)),
    Row(
        "gate named twice",
        {"spec.gates.1": SHARES},
        "spec.gates[1].name",
        hints=("already at gates[0]",),
        server_at="spec.gates[1]: Duplicate value",
    ),
    Row(
        "65 gates",
        {"spec.gates": [{**SHARES, "name": f"g{i}"} for i in range(65)]},
        "spec.gates",
        hints=("65 entries", "0 to 64"),
    ),
    Row("gates as mapping", {"spec.gates": {}}, "spec.gates", hints=("must be a list",)),
    Row("gate as text", {"spec.gates": ["acc"]}, "spec.gates[0]", hints=("must be a mapping",)),
    Row("null gate", {"spec.gates": [None]}, "spec.gates[0]", hints=("not null",)),
    Row(
        "penalty twice",
        {
            "spec.recipe.finetune": {
                "epochs": 1,
                "penalties": [{"kind": "l1", "weight": 1}, {"kind": "l1", "weight": 2}],
            }
        },
        "spec.recipe.finetune.penalties[1].kind",
        hints=("already",),
        server_at="spec.recipe.finetune.penalties[1]: Duplicate value",
    ),
    Row(
        "batch size twice",
        {"spec.measure.batchSizes": [1, 1]},
        "spec.measure.batchSizes[1]",
        hints=("already at batchSizes[0]",),
    ),
    Row(
        "no batch size",
        {"spec.measure.batchSizes": []},
        "spec.measure.batchSizes",
        hints=("1 to 8",),
    ),
    Row(
        "too few pairs", {"spec.measure.pairs": 100}, "spec.measure.pairs", hints=("at least 200",)
    ),
    Row("empty address", {"spec.model.uri": ""}, "spec.model.uri", hints=("0 characters",)),
    *(
        Row(name, {"spec.data.train": source}, f"spec.data.train.{field}", hints=hints)
        for name, source, field, hints in (
            ("no addresses", {"uris": []}, "uris", ("0 entries",)),
            ("too many addresses", {"uris": [f"{i}" for i in range(1001)]}, "uris", ("1001",)),
            ("one address as a list", {"uri": ["a"]}, "uri", ("must be",)),
            ("several addresses as text", {"uris": "a"}, "uris", ("must be",)),
            ("an address twice", {"uris": ["a", "b", "a"]}, "uris[2]", ("already at uris[0]",)),
            ("an empty address in a list", {"uris": ["a", ""]}, "uris[1]", ("0 characters",)),
            (
                "another word for missing",
                {"uris": ["a"], "missing": "Ignore"},
                "missing",
                ("Fail, Skip",),
            ),
            (
                "minimum of none",
                {"uris": ["a"], "missing": "Skip", "minimum": 0},
                "minimum",
                ("1",),
            ),
        )
    ),
    Row("long address", {"spec.model.uri": "x" * 1025}, "spec.model.uri", hints=("1025", "1024")),
    Row("digest", {"spec.model.digest": "md5:1"}, "spec.model.digest", hints=("sha256",)),
    Row(
        "argument as number",
        {
            "spec.data.train": {
                "uri": "d.py",
                "format": "python",
                "function": "load",
                "arguments": {"n": 5},
            }
        },
        "spec.data.train.arguments.n",
        hints=("must be text, not 5",),
    ),
    Row(
        "33 inputs",
        {"spec.data.test.inputs": {f"i{i}": "x" for i in range(33)}},
        "spec.data.test.inputs",
        hints=("33 entries",),
    ),
    Row(
        "deadline of a stage that is none",
        {"spec.stageDeadlineSeconds": {"train": 5}},
        "spec.stageDeadlineSeconds.train",
        hints=("is not a field",),
    ),
    Row(
        "round as fraction",
        prune(structured={"sparsity": 0.5, "round": 1.5}),
        "spec.recipe.prune.structured.round",
        hints=("must not be 1.5 (allowed: auto or an integer from 1 to 256)",),
    ),
    Row(
        "round beyond 64 bits",
        prune(structured={"sparsity": 0.5, "round": 10**26}),
        "spec.recipe.prune.structured.round",
        hints=("must not be 1", "(allowed: auto or an integer from 1 to 256)"),
    ),
    Row(
        "round as a list",
        prune(structured={"sparsity": 0.5, "round": [8]}),
        "spec.recipe.prune.structured.round",
        hints=("must not be a list (allowed: auto or an integer from 1 to 256)",),
    ),
)
