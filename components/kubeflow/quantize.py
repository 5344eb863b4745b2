"""The Kubeflow component `quantize`.

Generated from crds/compressionjob.yaml by `make ir`; do not edit.
"""

# ruff: noqa
# No `from __future__ import annotations` here: kfp reads the annotations.

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="fulcrum-components", install_kfp_package=False)
def quantize(
    model: dsl.Input[dsl.Model],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    train: dsl.Input[dsl.Dataset] = None,
    validation: dsl.Input[dsl.Dataset] = None,
    calibration_set: dsl.Input[dsl.Dataset] = None,
    method: str = 'auto',
    prefer: Optional[str] = None,
    activations: str = 'uint8',
    weights: str = 'int8',
    per_channel: bool = True,
    reduce_range: str = 'auto',
    calibration: str = 'minmax',
    percentile: Optional[float] = None,
    bias_correction: bool = False,
    equalization: bool = False,
    bits: int = 0,
    exclude: Optional[list] = None,
    max_drop: float = 0.01,
    min_coverage: float = 0,
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
    calibration_samples: int = 512,
    measure_batch_sizes: list = [1, 32],
    measure_threads: int = 1,
    measure_pairs: int = 400,
    measure_sessions: int = 5,
    measure_warmup: int = 20,
    measure_percentiles: list = [95],
) -> None:
    """Replace a model's floating point by integers.

    Args:
        model: A bundle, a .pt2 or .onnx file, or what an earlier component made.
        compressed: The model, with what later components need to know of it.
        metrics: Its figures.
        train: Labelled examples to train on.
        validation: Labelled examples for early stopping and for choosing between candidates.
        calibration_set: Examples that fix the quantizer's ranges. By default a sample of train.
        method: static needs calibration data; dynamic computes ranges at run time; weightOnly
            simulates fewer bits and claims no speed; auto builds several and keeps, of those that
            hold their quality on validation and of fp32, what prefer asks for. One of auto, static,
            dynamic, weightOnly.
        prefer: For auto, what counts most. latency takes the fastest over measure.batchSizes, of
            those within 10 % of it the best on validation, then the smallest; size the smallest,
            then the best, then the fastest; quality the best, then the fastest, then the smallest.
            By default size if an enforced gate limits size or memory and none requires a speedup,
            else latency. What gates on size reject is taken last. One of latency, size, quality.
        activations: Integer type of activations for static. One of uint8, int8.
        weights: Integer type of weights. One of int8, uint8.
        per_channel: One scale an output channel instead of one a tensor.
        reduce_range: Use 7 of 8 bits for weights. auto does so on CPUs without VNNI, whose older
            instructions saturate. One of auto, always, never.
        calibration: How the range of activations is found. With minmax, auto also tries the two
            others if minmax loses more than half of maxDrop on validation. One of minmax, entropy,
            percentile.
        percentile: Percentile kept by calibration percentile, 99.99 by default.
        bias_correction: Correct the mean shift that rounding weights causes (Nagel et al. 2019).
        equalization: Even out the ranges of consecutive layers first (cross-layer equalisation,
            Nagel et al. 2019).
        bits: Bits a weight for weightOnly. 0 is none.
        exclude: Names of ONNX nodes to leave in floating point, with * as a wildcard.
        max_drop: For auto, how much worse than fp32 a candidate may be on validation, in the task's
            first metric (accuracy as a share; RMSE relative).
        min_coverage: Smallest share of the matrix multiplications and convolutions (by
            multiply-accumulates) that must run in integers in the optimised graph; less fails the
            stage. Not checked if auto keeps fp32.
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
        calibration_samples: Number of examples that calibration uses, from the calibration set, or
            from train if there is none.
        measure_batch_sizes: Batch sizes to time, 1 and 32 by default.
        measure_threads: Intra-op threads, pinned. It should be what serving uses.
        measure_pairs: Interleaved pairs of calls a batch size, over all sessions.
        measure_sessions: Fresh pairs of sessions that the pairs are spread over.
        measure_warmup: Calls of each session that are not counted.
        measure_percentiles: Percentiles to report beside the median.
    """
    from fulcrum_components.stages.composed import compress
    from fulcrum_pipelines.composed import check

    compress(
        "quantize",
        model.path,
        {
            "train": train.path if train else None,
            "validation": validation.path if validation else None,
            "calibration": calibration_set.path if calibration_set else None,
        },
        {
            "recipe.quantize.method": method,
            "recipe.quantize.prefer": prefer,
            "recipe.quantize.activations": activations,
            "recipe.quantize.weights": weights,
            "recipe.quantize.perChannel": per_channel,
            "recipe.quantize.reduceRange": reduce_range,
            "recipe.quantize.calibration": calibration,
            "recipe.quantize.percentile": percentile,
            "recipe.quantize.biasCorrection": bias_correction,
            "recipe.quantize.equalization": equalization,
            "recipe.quantize.bits": bits or None,
            "recipe.quantize.exclude": exclude,
            "recipe.quantize.maxDrop": max_drop,
            "recipe.quantize.minCoverage": min_coverage,
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
            "data.calibrationSamples": calibration_samples,
            "measure.batchSizes": measure_batch_sizes,
            "measure.threads": measure_threads,
            "measure.pairs": measure_pairs,
            "measure.sessions": measure_sessions,
            "measure.warmup": measure_warmup,
            "measure.percentiles": measure_percentiles,
        },
        check,
        compressed,
        metrics,
    )
