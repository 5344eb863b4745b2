"""The Kubeflow component `prune`.

Generated from crds/compressionjob.yaml by `make ir`; do not edit.
"""

# ruff: noqa
# No `from __future__ import annotations` here: kfp reads the annotations.

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="fulcrum-components", install_kfp_package=False)
def prune(
    model: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    validation: dsl.Input[dsl.Dataset] = None,
    structured_sparsity: Optional[float] = None,
    structured_scope: str = 'uniform',
    structured_importance: str = 'magnitude',
    structured_round: str = 'auto',
    structured_iterations: int = 1,
    structured_schedule: str = 'linear',
    structured_heads: bool = False,
    structured_ignore: Optional[list] = None,
    structured_tolerance: float = 0.1,
    unstructured_sparsity: Optional[float] = None,
    unstructured_scope: str = 'layer',
    unstructured_iterations: int = 1,
    unstructured_schedule: str = 'linear',
    unstructured_ignore: Optional[list] = None,
    unstructured_tolerance: float = 0.02,
    nm: bool = False,
    nm_keep: int = 2,
    nm_of: int = 4,
    nm_ignore: Optional[list] = None,
    truncate_threshold: Optional[float] = None,
    truncate_shrink: str = 'hard',
    truncate_ignore: Optional[list] = None,
    sensitivity: bool = False,
    batch_norm_samples: int = 1024,
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
    """Remove weights from a model.

    Args:
        model: A bundle, a .pt2 or .onnx file, or what an earlier component made.
        train: Labelled examples to train on.
        compressed: The model, with what later components need to know of it.
        metrics: Its figures.
        validation: Labelled examples for early stopping and for choosing between candidates.
        structured_sparsity: Share of the channels to remove of each prunable layer (of all of them
            together for scope global).
        structured_scope: uniform removes the same share everywhere; global ranks all channels
            together. One of uniform, global.
        structured_importance: How channels are ranked - its weights' L2 norm, its batch-norm scale
            (Liu et al. 2017), or a first-order Taylor expansion of the loss (Molchanov et al. 2019)
            on all outputs that are not ignored. One of magnitude, bnScale, taylor.
        structured_round: Keep channel counts a multiple of this number, since others waste vector
            lanes. auto takes it from the CPU's vector width.
        structured_iterations: Reach the sparsity in this many steps.
        structured_schedule: Sparsity over the steps; cubic is that of Zhu and Gupta 2017. One of
            linear, cubic.
        structured_heads: Also prune whole attention heads, if torch-pruning supports the attention
            layer.
        structured_ignore: Names of modules that are not pruned, with * as a wildcard. Layers that
            produce the model's outputs are never pruned.
        structured_tolerance: How far the achieved sparsity may be from the one asked for before the
            stage fails. Rounding alone moves it by up to half a step.
        unstructured_sparsity: Share of the weights to set to zero.
        unstructured_scope: layer removes the same share of each layer; global ranks all weights
            together. One of layer, global.
        unstructured_iterations: Reach the sparsity in this many steps.
        unstructured_schedule: Sparsity over the steps; cubic is that of Zhu and Gupta 2017. One of
            linear, cubic.
        unstructured_ignore: Names of modules that are not pruned, with * as a wildcard. Layers that
            produce the model's outputs are never pruned.
        unstructured_tolerance: How far the achieved sparsity may be from the one asked for before
            the stage fails. Rounding alone moves it by up to half a step.
        nm: Keep a number of each group of consecutive weights along the input dimension (N:M), the
            pattern that sparse tensor cores use. Its options imply it.
        nm_keep: Weights kept of each group.
        nm_of: Size of a group.
        nm_ignore: Names of modules that are not pruned, with * as a wildcard. Layers that produce
            the model's outputs are never pruned.
        truncate_threshold: In standard deviations of the layer's weights.
        truncate_shrink: hard keeps larger weights as they are; soft moves them towards zero by the
            threshold (the truncation operator of Langford et al. 2009). One of hard, soft.
        truncate_ignore: Names of modules that are not pruned, with * as a wildcard. Layers that
            produce the model's outputs are never pruned.
        sensitivity: Measure, layer by layer and alone, what pruning costs on validation; the table
            goes into the evidence.
        batch_norm_samples: Re-estimate batch-norm statistics on this many examples of train after
            pruning; 0 leaves them.
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

    uses_structured = structured_scope != 'uniform' or structured_importance != 'magnitude' or structured_round != 'auto' or structured_iterations != 1 or structured_schedule != 'linear' or structured_heads != False or structured_tolerance != 0.1 or structured_sparsity is not None or structured_ignore is not None
    uses_unstructured = unstructured_scope != 'layer' or unstructured_iterations != 1 or unstructured_schedule != 'linear' or unstructured_tolerance != 0.02 or unstructured_sparsity is not None or unstructured_ignore is not None
    uses_nm = nm != False or nm_keep != 2 or nm_of != 4 or nm_ignore is not None
    uses_truncate = truncate_shrink != 'hard' or truncate_threshold is not None or truncate_ignore is not None
    compress(
        "prune",
        model.path,
        {
            "train": train.path,
            "validation": validation.path if validation else None,
        },
        {
            "recipe.prune.structured.sparsity": structured_sparsity if uses_structured else None,
            "recipe.prune.structured.scope": structured_scope if uses_structured else None,
            "recipe.prune.structured.importance": structured_importance if uses_structured else None,
            "recipe.prune.structured.round": (int(structured_round) if structured_round.isdigit() else structured_round) if uses_structured else None,
            "recipe.prune.structured.iterations": structured_iterations if uses_structured else None,
            "recipe.prune.structured.schedule": structured_schedule if uses_structured else None,
            "recipe.prune.structured.heads": structured_heads if uses_structured else None,
            "recipe.prune.structured.ignore": structured_ignore if uses_structured else None,
            "recipe.prune.structured.tolerance": structured_tolerance if uses_structured else None,
            "recipe.prune.unstructured.sparsity": unstructured_sparsity if uses_unstructured else None,
            "recipe.prune.unstructured.scope": unstructured_scope if uses_unstructured else None,
            "recipe.prune.unstructured.iterations": unstructured_iterations if uses_unstructured else None,
            "recipe.prune.unstructured.schedule": unstructured_schedule if uses_unstructured else None,
            "recipe.prune.unstructured.ignore": unstructured_ignore if uses_unstructured else None,
            "recipe.prune.unstructured.tolerance": unstructured_tolerance if uses_unstructured else None,
            "recipe.prune.nm": {} if uses_nm else None,
            "recipe.prune.nm.keep": nm_keep if uses_nm else None,
            "recipe.prune.nm.of": nm_of if uses_nm else None,
            "recipe.prune.nm.ignore": nm_ignore if uses_nm else None,
            "recipe.prune.truncate.threshold": truncate_threshold if uses_truncate else None,
            "recipe.prune.truncate.shrink": truncate_shrink if uses_truncate else None,
            "recipe.prune.truncate.ignore": truncate_ignore if uses_truncate else None,
            "recipe.prune.sensitivity": sensitivity,
            "recipe.prune.batchNormSamples": batch_norm_samples,
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
