"""The Kubeflow component `finetune`.

Generated from crds/compressionjob.yaml by `make ir`; do not edit.
"""

# ruff: noqa
# No `from __future__ import annotations` here: kfp reads the annotations.

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="fulcrum-components", install_kfp_package=False)
def finetune(
    model: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    epochs: int,
    validation: dsl.Input[dsl.Dataset] = None,
    batch_size: int = 64,
    optimizer: str = 'adamw',
    learning_rate: float = 0.001,
    momentum: float = 0.9,
    weight_decay: float = 0.0001,
    schedule: str = 'cosine',
    warmup_epochs: float = 0,
    gradient_clip: Optional[float] = None,
    early_stopping: bool = False,
    early_stopping_patience: int = 3,
    early_stopping_min_delta: float = 0,
    distillation: bool = False,
    distillation_temperature: float = 3,
    distillation_weight: float = 0.7,
    penalties: Optional[list] = None,
    weight_norm: bool = False,
    precision: str = 'fp32',
    allow_noop: Optional[bool] = None,
    task: Optional[str] = None,
    classes: Optional[list] = None,
    data_format: Optional[str] = None,
    data_inputs: Optional[dict] = None,
    data_target: Optional[str] = None,
    data_scale: Optional[float] = None,
    model_meaning: Optional[str] = None,
    ignored_outputs: Optional[list] = None,
    device: Optional[str] = None,
    seed: int = 0,
) -> None:
    """Train a model further, with the original as teacher.

    Args:
        model: A bundle, a .pt2 or .onnx file, or what an earlier component made.
        train: Labelled examples to train on.
        compressed: The model, with what later components need to know of it.
        metrics: Its figures.
        epochs: Passes over data.train at most.
        validation: Labelled examples for early stopping and for choosing between candidates.
        batch_size: Examples a step.
        optimizer: Optimiser. One of sgd, adam, adamw, rmsprop.
        learning_rate: Highest learning rate of the schedule.
        momentum: Momentum of sgd and rmsprop.
        weight_decay: Weight decay.
        schedule: Learning rate over the steps. One of constant, cosine, linear, step, oneCycle.
        warmup_epochs: Passes over which the learning rate rises from zero.
        gradient_clip: Largest L2 norm of the gradient; larger ones are scaled down.
        early_stopping: Stop when validation no longer gets better, and keep the best weights. Its
            options imply it.
        early_stopping_patience: Passes without a gain before stopping.
        early_stopping_min_delta: Smallest fall of the validation loss that counts as a gain.
        distillation: Learn from the original's outputs too (Hinton et al. 2015). Its options imply
            it.
        distillation_temperature: Softens both models' outputs. Classification only.
        distillation_weight: Weight of the teacher's part in the loss; the rest is the labels'.
        penalties: The terms of lambda * L_pars(theta) added to the loss.
        weight_norm: Train direction and length of each layer's weights apart (weight normalisation,
            Salimans and Kingma 2016); folded back at the end. Layers that share their weights stay
            plain.
        precision: bf16 computes under autocast. One of fp32, bf16.
        allow_noop: Let prune, finetune and quantize succeed although they changed nothing. Without
            it, such a stage is an error. Left out, it is as in the component that made the model,
            else False.
        task: Kind of task; it selects the metrics. One of classification, regression. Left out, it
            is as in the component that made the model.
        classes: Names of the classes, in the order of the model's outputs. Labels that are text,
            and folders of images, are these names. Default, the labels themselves. Left out, it is
            as in the component that made the model.
        data_format: Format of the data; auto decides by the name's ending (.npz, .npy, .csv,
            .csv.gz, .parquet, a directory of class directories). One of auto, npz, npy, csv,
            parquet, imageFolder, python. Left out, it is as in the component that made the model,
            else auto.
        data_inputs: For each input of the model, the array, column or columns ("a,b,c" or "a:c" for
            a range of columns) that feed it. Default, the key with the input's own name. Left out,
            it is as in the component that made the model.
        data_target: Array or column that holds the right answer. Class labels are positions of the
            model's outputs from 0, or names in data.classes. Left out, it is as in the component
            that made the model, else y.
        data_scale: Factor applied to each input value, for instance 0.00392156862745098 for images,
            whose pixels go from 0 to 255 at any depth. Left out, it is as in the component that
            made the model.
        model_meaning: Meaning of the first output of a .pt2 or .onnx file, if its graph does not
            show it. By default a softmax or sigmoid at the end means probabilities, anything else
            logits, and a regression means value. A bundle declares it in fulcrum.yaml. One of
            logits, probabilities, value. Left out, it is as in the component that made the model.
        ignored_outputs: Outputs of the model after the first that are not used. All others are
            compared with the baseline's, and block promotion if they differ too much. Left out, it
            is as in the component that made the model.
        device: Where prune and finetune compute, and the outcomes of models that are not quantized.
            auto uses CUDA if available; with cuda the first stage fails without it. Latency and
            memory are always measured on the CPU. One of auto, cpu, cuda. Left out, it is as in the
            component that made the model, else auto.
        seed: Seed of everything that is random.
    """
    from fulcrum_components.stages.composed import compress
    from fulcrum_pipelines.composed import check

    uses_early_stopping = early_stopping != False or early_stopping_patience != 3 or early_stopping_min_delta != 0
    uses_distillation = distillation != False or distillation_temperature != 3 or distillation_weight != 0.7
    compress(
        "finetune",
        model.path,
        {
            "train": train.path,
            "validation": validation.path if validation else None,
        },
        {
            "recipe.finetune.epochs": epochs,
            "recipe.finetune.batchSize": batch_size,
            "recipe.finetune.optimizer": optimizer,
            "recipe.finetune.learningRate": learning_rate,
            "recipe.finetune.momentum": momentum,
            "recipe.finetune.weightDecay": weight_decay,
            "recipe.finetune.schedule": schedule,
            "recipe.finetune.warmupEpochs": warmup_epochs,
            "recipe.finetune.gradientClip": gradient_clip,
            "recipe.finetune.earlyStopping": {} if uses_early_stopping else None,
            "recipe.finetune.earlyStopping.patience": early_stopping_patience if uses_early_stopping else None,
            "recipe.finetune.earlyStopping.minDelta": early_stopping_min_delta if uses_early_stopping else None,
            "recipe.finetune.distillation": {} if uses_distillation else None,
            "recipe.finetune.distillation.temperature": distillation_temperature if uses_distillation else None,
            "recipe.finetune.distillation.weight": distillation_weight if uses_distillation else None,
            "recipe.finetune.penalties": penalties,
            "recipe.finetune.weightNorm": weight_norm,
            "recipe.finetune.precision": precision,
            "recipe.allowNoop": allow_noop,
            "data.task": task,
            "data.classes": classes,
            "source.format": data_format,
            "source.inputs": data_inputs,
            "source.target": data_target,
            "source.scale": data_scale,
            "model.meaning": model_meaning,
            "data.ignoredOutputs": ignored_outputs,
            "recipe.device": device,
            "seed": seed,
        },
        check,
        compressed,
        metrics,
    )
