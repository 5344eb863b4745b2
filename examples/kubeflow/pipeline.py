"""A team's own pipeline around Fulcrum's components, on scikit-learn's digits.

Its own steps split the data and train; the others prune, fine-tune, quantize, validate and, after a
Pass only, promote.

    python pipeline.py DIGITS STORE     run all of it on this machine

DIGITS is what `python ../digits/data.py digits.npz` writes, STORE a directory. `digits.yaml` is the
compiled pipeline, which `make ir` makes; upload it to Kubeflow as it is.
"""
# No `from __future__ import annotations` here: kfp reads the annotations of components.

import sys
import warnings
from pathlib import Path

from kfp import components, dsl, kubernetes, local

HERE = Path(__file__).resolve().parent
COMPONENTS = HERE.parents[1] / "components" / "kubeflow"
IMAGE = "fulcrum-components:0.1"
GATES = [
    {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.02},
    {"name": "size", "kind": "size", "max": 0.5},
]
MEASURE = {"measure_batch_sizes": [1, 32], "measure_threads": 1}

SECRET = "fulcrum-store"
KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
"""Of that secret, for the two tasks that reach a bucket; without it the pods' identity is used."""

component = dsl.component(base_image=IMAGE, install_kfp_package=False)
prune, finetune, quantize, validate, promote = (
    components.load_component_from_file(str(COMPONENTS / f"{name}.yaml"))
    for name in ("prune", "finetune", "quantize", "validate", "promote")
)
CONDITION = "pipelinechannel--validate-verdict"
CONDITION_HERE = "pipelinechannel--validate--verdict"
"""kfp's local runner (2.17) finds a named output in a condition by this spelling only."""


@component
def split(
    digits: str,
    train: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
) -> None:
    """Split the 1,797 digits into 900 to train on, 200 to choose by and 697 that decide."""
    import fsspec
    import numpy as np

    with fsspec.open(digits) as file, np.load(file) as arrays:
        pixels, y = arrays["pixels"], arrays["y"]
    parts = {
        train.path: slice(0, 900),
        validation.path: slice(900, 1100),
        test.path: slice(1100, None),
    }
    for path, part in parts.items():
        with open(path, "wb") as file:
            np.savez(file, pixels=pixels[part], y=y[part])


@component
def fit(train: dsl.Input[dsl.Dataset], epochs: int, model: dsl.Output[dsl.Model]) -> None:
    """Train a perceptron, and leave it as a bundle: code, weights and fulcrum.yaml."""
    from pathlib import Path

    import numpy as np
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional

    code = """\
from torch import nn


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
"""
    description = """\
entryPoint: model.py:build
weights: model.safetensors
inputs:
  - {name: pixels, shape: [batch, 64], dtype: float32}
outputs:
  - {name: logits, shape: [batch, 10], dtype: float32}
meaning: logits
"""
    bundle = Path(model.path)
    bundle.mkdir(parents=True)
    (bundle / "model.py").write_text(code)
    (bundle / "fulcrum.yaml").write_text(description)
    scope: dict = {}
    exec(code, scope)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = scope["build"]()
    with np.load(train.path) as arrays:
        pixels, labels = (torch.from_numpy(arrays[name]) for name in ("pixels", "y"))
    optimizer = torch.optim.AdamW(module.parameters(), 2e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels)).split(32):
            loss = functional.cross_entropy(module(pixels[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    save_file(module.state_dict(), bundle / "model.safetensors")


@dsl.pipeline(
    name="digits-composed",
    description="Train, prune, fine-tune, quantize, validate, and promote after a Pass.",
)
def digits_composed(
    digits: str,
    store: str,
    channel: str = "digits",
    image: str = IMAGE,
    epochs: int = 40,
    finetune_epochs: int = 20,
) -> None:
    """Compose a team's own training with Fulcrum's components."""
    data = split(digits=digits)
    train, validation, test = (data.outputs[name] for name in ("train", "validation", "test"))
    trained = fit(train=train, epochs=epochs)
    pruned = prune(
        model=trained.outputs["model"],
        train=train,
        validation=validation,
        task="classification",
        structured_sparsity=0.5,
        structured_round="8",
    )
    tuned = finetune(
        model=pruned.outputs["compressed"],
        train=train,
        validation=validation,
        epochs=finetune_epochs,
        batch_size=32,
        distillation=True,
    )
    small = quantize(
        model=tuned.outputs["compressed"],
        train=train,
        validation=validation,
        method="static",
        **MEASURE,
    )
    judged = validate(
        baseline=trained.outputs["model"],
        candidate=small.outputs["compressed"],
        test=test,
        train=train,
        validation=validation,
        gates=GATES,
        **MEASURE,
    )
    tasks = [data, trained, pruned, tuned, small, judged]
    with dsl.If(judged.outputs["verdict"] == "Pass"):
        moved = promote(
            channel=channel,
            store=store,
            candidate=small.outputs["compressed"],
            evidence=judged.outputs["evidence"],
        )
        moved.set_container_image(image)
    for task in (data, moved):
        kubernetes.use_secret_as_env(task, SECRET, {key: key for key in KEYS}, optional=True)
    for task in tasks:
        task.set_container_image(image)
    judged.set_caching_options(False)  # times are measured, not remembered


def run(digits: str, store: str, **arguments: object) -> None:
    """Run the pipeline on this machine, in this environment; kfp's files are below the store."""
    local.init(
        local.SubprocessRunner(use_venv=False),
        raise_on_error=True,
        pipeline_root=str(Path(store) / "kfp"),
    )
    text = (
        (HERE / "digits.yaml")
        .read_text()
        .replace(f"values['{CONDITION}']", f"values['{CONDITION_HERE}']")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        components.load_component_from_text(text)(digits=digits, store=store, **arguments)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    run(*sys.argv[1:])
