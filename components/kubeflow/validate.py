"""The Kubeflow component `validate`.

Generated from crds/compressionjob.yaml by `make ir`; do not edit.
"""

# ruff: noqa
# No `from __future__ import annotations` here: kfp reads the annotations.

from typing import NamedTuple, Optional

from kfp import dsl


@dsl.component(base_image="fulcrum-components", install_kfp_package=False)
def validate(
    baseline: dsl.Input[dsl.Model],
    candidate: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    evidence: dsl.Output[dsl.Artifact],
    gates: list,
    train: dsl.Input[dsl.Dataset] = None,
    validation: dsl.Input[dsl.Dataset] = None,
    calibration_set: dsl.Input[dsl.Dataset] = None,
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
    slices: Optional[list] = None,
    targets: Optional[dict] = None,
    group_by: Optional[str] = None,
    measure_batch_sizes: list = [1, 32],
    measure_threads: int = 1,
    measure_pairs: int = 400,
    measure_sessions: int = 5,
    measure_warmup: int = 20,
    measure_percentiles: list = [95],
    allow_weak_baseline: bool = False,
) -> NamedTuple("Outputs", [("verdict", str)]):
    """Compare a compressed model with its baseline, and decide the gates.

    Args:
        baseline: The model that the candidate was made from, or another ONNX file to compare with.
        candidate: What prune, finetune or quantize made, or a model that something else made.
        test: Labelled examples that decide. They must be in none of the other data sets.
        metrics: Its figures.
        report: The whole report.
        evidence: What the verdict was decided from; promote needs it.
        gates: Conditions that the candidate must meet. All enforced gates must pass; an empty list
            never passes.
        train: Labelled examples to train on.
        validation: Labelled examples for early stopping and for choosing between candidates.
        calibration_set: Examples that fix the quantizer's ranges. By default a sample of train.
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
        slices: Columns of the test data by whose values results are reported and may be gated. The
            slice by class needs no declaration.
        targets: For outputs of the model after the first, the array or column of the test data that
            holds the right answer. Their metrics are reported, whole numbers for classes; the first
            output's answer is test.target.
        group_by: Array or column of the test data that says which examples belong together (a user,
            a recording). Intervals then resample groups, not examples.
        measure_batch_sizes: Batch sizes to time, 1 and 32 by default.
        measure_threads: Intra-op threads, pinned. It should be what serving uses.
        measure_pairs: Interleaved pairs of calls a batch size, over all sessions.
        measure_sessions: Fresh pairs of sessions that the pairs are spread over.
        measure_warmup: Calls of each session that are not counted.
        measure_percentiles: Percentiles to report beside the median.
        allow_weak_baseline: Accept a baseline that answers one class only, or that no gate's metric
            can tell from a constant answer (the most frequent class, the mean). Without it the
            verdict is Anomalous, since such a comparison proves nothing.

    Returns:
        verdict: Pass, Fail, Inconclusive or Anomalous.
    """
    from fulcrum_components.stages.composed import validate
    from fulcrum_pipelines.composed import check, judge

    validate(
        baseline.path,
        candidate.path,
        {
            "test": test.path,
            "train": train.path if train else None,
            "validation": validation.path if validation else None,
            "calibration": calibration_set.path if calibration_set else None,
        },
        {
            "gates": gates,
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
            "data.slices": slices,
            "data.targets": targets,
            "data.groupBy": group_by,
            "measure.batchSizes": measure_batch_sizes,
            "measure.threads": measure_threads,
            "measure.pairs": measure_pairs,
            "measure.sessions": measure_sessions,
            "measure.warmup": measure_warmup,
            "measure.percentiles": measure_percentiles,
            "allowWeakBaseline": allow_weak_baseline,
        },
        check,
        evidence,
        metrics,
    )
    return (judge(evidence.path, report.path),)
