"""Generated from crds/compressionjob.yaml by `make crds`; do not edit."""

# ruff: noqa: E501 - descriptions come from the schema as they are

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Spec(BaseModel):
    """Base of all generated types: immutable, strict, and spelled in camelCase outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Model(Spec):
    """The trained model. It may be left out if a candidate is compared with what a channel holds."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """A bundle directory, a .pt2 file or an .onnx file. A URL, or a path relative to the manifest (to the operator's source root on a cluster)."""
    format: Literal['auto', 'bundle', 'pt2', 'onnx'] = 'auto'
    """Format of the model; auto decides by the name whether it is a directory, .pt2 or .onnx."""
    digest: Annotated[str, Field(pattern='^sha256:[0-9a-f]{64}$')] | None = None
    """Expected digest of the model; a different one is refused before anything runs."""
    meaning: Literal['logits', 'probabilities', 'value'] | None = None
    """Meaning of the first output of a .pt2 or .onnx file, if its graph does not show it. By default a softmax or sigmoid at the end means probabilities, anything else logits, and a regression means value. A bundle declares it in fulcrum.yaml."""


class DataSource(Spec):
    """Examples to fine-tune on, and to sample calibration data from if there is no calibration set."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A file, a directory or a glob. A URL, or a path relative to the manifest (to the operator's source root on a cluster)."""
    uris: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...], Field(min_length=1, max_length=1000)] | None = None
    """Files, directories and globs in place of uri, read as one data set in this order, such as the files of several days. All files need the same columns or arrays, and none may be named twice."""
    missing: Literal['Fail', 'Skip'] = 'Fail'
    """What to do if nothing is at one of uris, or a glob matches nothing. Fail is an error; Skip goes on without it, and evidence, report and verdict name it."""
    minimum: Annotated[int, Field(ge=1, le=1000)] | None = None
    """For missing Skip, how many of uris must exist at least."""
    format: Literal['auto', 'npz', 'npy', 'csv', 'parquet', 'imageFolder', 'python'] = 'auto'
    """Format of the data; auto decides by the name's ending (.npz, .npy, .csv, .csv.gz, .parquet, a directory of class directories)."""
    inputs: dict[str, str] | None = None
    """For each input of the model, the array, column or columns ("a,b,c" or "a:c" for a range of columns) that feed it. Default, the key with the input's own name."""
    target: Annotated[str, Field(max_length=253)] = 'y'
    """Array or column that holds the right answer. Class labels are positions of the model's outputs from 0, or names in data.classes."""
    target_uri: Annotated[str, Field(max_length=1024)] | None = None
    """For npy, the file that holds the answers."""
    function: Annotated[str, Field(max_length=253, pattern='^[A-Za-z_][A-Za-z0-9_]*$')] | None = None
    """For python, the function in the file that uri names. It returns a mapping of arrays, or an object with __len__ and __getitem__ that gives one mapping an example."""
    arguments: dict[str, str] | None = None
    """For python, the function's keyword arguments, as strings."""
    scale: float | None = None
    """Factor applied to each input value, for instance 0.00392156862745098 for images, whose pixels go from 0 to 255 at any depth."""
    shuffle_seed: Annotated[int, Field(ge=0, le=4294967295)] | None = None
    """Read the examples in a seeded random order. Needed if take or skip should not follow the file's order."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Skip this many examples at the start."""
    take: Annotated[int, Field(ge=1)] | None = None
    """Use at most this many examples."""


class DataSlice(Spec):
    """A column of the test data; each of its values is one slice."""

    name: Annotated[str, Field(max_length=63, pattern='^[a-z]([a-z0-9-]*[a-z0-9])?$')]
    """Name of the slice."""
    column: Annotated[str, Field(min_length=1, max_length=253)]
    """Array or column of the test data with at most 1000 distinct values."""


class Data(Spec):
    """The data sets. Nothing is ever tuned on test."""

    task: Literal['classification', 'regression']
    """Kind of task; it selects the metrics."""
    train: DataSource | None = None
    """Examples to fine-tune on, and to sample calibration data from if there is no calibration set."""
    calibration: DataSource | None = None
    """Examples that fix the quantizer's ranges; labels are not used. Default, a seeded sample of train."""
    validation: DataSource | None = None
    """Examples for early stopping and for choosing between candidates."""
    test: DataSource
    """Examples that decide. They must be in none of the other sets."""
    calibration_samples: Annotated[int, Field(ge=1, le=100000)] = 512
    """Number of examples that calibration uses, from the calibration set, or from train if there is none."""
    classes: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=10000)] | None = None
    """Names of the classes, in the order of the model's outputs. Labels that are text, and folders of images, are these names. Default, the labels themselves."""
    slices: Annotated[tuple[DataSlice, ...], Field(max_length=16)] | None = None
    """Columns of the test data by whose values results are reported and may be gated. The slice by class needs no declaration."""
    targets: dict[str, str] | None = None
    """For outputs of the model after the first, the array or column of the test data that holds the right answer. Their metrics are reported, whole numbers for classes; the first output's answer is test.target."""
    ignored_outputs: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=32)] | None = None
    """Outputs of the model after the first that are not used. All others are compared with the baseline's, and block promotion if they differ too much."""
    time_column: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Array or column of every data set that says when an example is from - an ISO date or timestamp, or a number. Each test example must be later than all of the other data sets; the verdict is Anomalous otherwise."""
    group_by: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Array or column of the test data that says which examples belong together (a user, a recording). Intervals then resample groups, not examples."""


class Retrain(Spec):
    """Retrain the model on new data before compressing it. Not supported yet by this version."""

    epochs: Annotated[int, Field(ge=1, le=10000)]
    """Passes over data.train."""


class Structured(Spec):
    """Remove whole channels, neurons or attention heads, so that the network becomes smaller and faster on any hardware."""

    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of the channels to remove of each prunable layer (of all of them together for scope global)."""
    scope: Literal['uniform', 'global'] = 'uniform'
    """uniform removes the same share everywhere; global ranks all channels together."""
    importance: Literal['magnitude', 'bnScale', 'taylor'] = 'magnitude'
    """How channels are ranked - its weights' L2 norm, its batch-norm scale (Liu et al. 2017), or a first-order Taylor expansion of the loss (Molchanov et al. 2019) on all outputs that are not ignored."""
    round: int | str = 'auto'
    """Keep channel counts a multiple of this number, since others waste vector lanes. auto takes it from the CPU's vector width."""
    iterations: Annotated[int, Field(ge=1, le=50)] = 1
    """Reach the sparsity in this many steps."""
    schedule: Literal['linear', 'cubic'] = 'linear'
    """Sparsity over the steps; cubic is that of Zhu and Gupta 2017."""
    heads: bool = False
    """Also prune whole attention heads, if torch-pruning supports the attention layer."""
    ignore: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=256)] | None = None
    """Names of modules that are not pruned, with * as a wildcard. Layers that produce the model's outputs are never pruned."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.1
    """How far the achieved sparsity may be from the one asked for before the stage fails. Rounding alone moves it by up to half a step."""


class Unstructured(Spec):
    """Set single weights to zero. It makes files compress better; ONNX Runtime on CPU does not become faster by it."""

    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of the weights to set to zero."""
    scope: Literal['layer', 'global'] = 'layer'
    """layer removes the same share of each layer; global ranks all weights together."""
    iterations: Annotated[int, Field(ge=1, le=50)] = 1
    """Reach the sparsity in this many steps."""
    schedule: Literal['linear', 'cubic'] = 'linear'
    """Sparsity over the steps; cubic is that of Zhu and Gupta 2017."""
    ignore: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=256)] | None = None
    """Names of modules that are not pruned, with * as a wildcard. Layers that produce the model's outputs are never pruned."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.02
    """How far the achieved sparsity may be from the one asked for before the stage fails. Rounding alone moves it by up to half a step."""


class PatternNM(Spec):
    """Keep a number of each group of consecutive weights along the input dimension (N:M), the pattern that sparse tensor cores use."""

    keep: Annotated[int, Field(ge=1, le=31)] = 2
    """Weights kept of each group."""
    of: Annotated[int, Field(ge=2, le=32)] = 4
    """Size of a group."""
    ignore: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=256)] | None = None
    """Names of modules that are not pruned, with * as a wildcard. Layers that produce the model's outputs are never pruned."""


class Truncate(Spec):
    """Set weights of small magnitude to zero, by a threshold instead of a share."""

    threshold: Annotated[float, Field(gt=0, le=10)]
    """In standard deviations of the layer's weights."""
    shrink: Literal['hard', 'soft'] = 'hard'
    """hard keeps larger weights as they are; soft moves them towards zero by the threshold (the truncation operator of Langford et al. 2009)."""
    ignore: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=256)] | None = None
    """Names of modules that are not pruned, with * as a wildcard. Layers that produce the model's outputs are never pruned."""


class Prune(Spec):
    """Remove weights. Exactly one of structured, unstructured, nm and truncate."""

    structured: Structured | None = None
    """Remove whole channels, neurons or attention heads, so that the network becomes smaller and faster on any hardware."""
    unstructured: Unstructured | None = None
    """Set single weights to zero. It makes files compress better; ONNX Runtime on CPU does not become faster by it."""
    nm: PatternNM | None = None
    """Keep a number of each group of consecutive weights along the input dimension (N:M), the pattern that sparse tensor cores use."""
    truncate: Truncate | None = None
    """Set weights of small magnitude to zero, by a threshold instead of a share."""
    sensitivity: bool = False
    """Measure, layer by layer and alone, what pruning costs on validation; the table goes into the evidence."""
    batch_norm_samples: Annotated[int, Field(ge=0, le=1000000)] = 1024
    """Re-estimate batch-norm statistics on this many examples of train after pruning; 0 leaves them."""
    recovery_epochs: Annotated[int, Field(ge=0, le=100)] = 0
    """Passes of fine-tuning between the steps of iterative pruning, with the settings of recipe.finetune."""


class EarlyStopping(Spec):
    """Stop when validation no longer gets better, and keep the best weights."""

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes without a gain before stopping."""
    min_delta: Annotated[float, Field(ge=0)] = 0
    """Smallest fall of the validation loss that counts as a gain."""


class Distillation(Spec):
    """Learn from the original's outputs too (Hinton et al. 2015)."""

    temperature: Annotated[float, Field(gt=0, le=100)] = 3
    """Softens both models' outputs. Classification only."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the teacher's part in the loss; the rest is the labels'."""


class Penalty(Spec):
    """One term of the loss."""

    kind: Literal['l1', 'group']
    """l1 is the sum of magnitudes; group the sum over output channels of their L2 norms (group lasso)."""
    weight: Annotated[float, Field(gt=0)]
    """lambda."""


class Finetune(Spec):
    """Train the compressed model further; with distillation, the original is its teacher."""

    epochs: Annotated[int, Field(ge=1, le=10000)]
    """Passes over data.train at most."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Examples a step."""
    optimizer: Literal['sgd', 'adam', 'adamw', 'rmsprop'] = 'adamw'
    """Optimiser."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    """Highest learning rate of the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd and rmsprop."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0001
    """Weight decay."""
    schedule: Literal['constant', 'cosine', 'linear', 'step', 'oneCycle'] = 'cosine'
    """Learning rate over the steps."""
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0
    """Passes over which the learning rate rises from zero."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of the gradient; larger ones are scaled down."""
    early_stopping: EarlyStopping | None = None
    """Stop when validation no longer gets better, and keep the best weights."""
    distillation: Distillation | None = None
    """Learn from the original's outputs too (Hinton et al. 2015)."""
    penalties: Annotated[tuple[Penalty, ...], Field(max_length=4)] | None = None
    """The terms of lambda * L_pars(theta) added to the loss."""
    weight_norm: bool = False
    """Train direction and length of each layer's weights apart (weight normalisation, Salimans and Kingma 2016); folded back at the end. Layers that share their weights stay plain."""
    precision: Literal['fp32', 'bf16'] = 'fp32'
    """bf16 computes under autocast."""


class Quantize(Spec):
    """Replace floating point by integers."""

    method: Literal['auto', 'static', 'dynamic', 'weightOnly'] = 'auto'
    """static needs calibration data; dynamic computes ranges at run time; weightOnly simulates fewer bits and claims no speed; auto builds several and keeps, of those that hold their quality on validation and of fp32, what prefer asks for."""
    prefer: Literal['latency', 'size', 'quality'] | None = None
    """For auto, what counts most. latency takes the fastest over measure.batchSizes, of those within 10 % of it the best on validation, then the smallest; size the smallest, then the best, then the fastest; quality the best, then the fastest, then the smallest. By default size if an enforced gate limits size or memory and none requires a speedup, else latency. What gates on size reject is taken last."""
    activations: Literal['uint8', 'int8'] = 'uint8'
    """Integer type of activations for static."""
    weights: Literal['int8', 'uint8'] = 'int8'
    """Integer type of weights."""
    per_channel: bool = True
    """One scale an output channel instead of one a tensor."""
    reduce_range: Literal['auto', 'always', 'never'] = 'auto'
    """Use 7 of 8 bits for weights. auto does so on CPUs without VNNI, whose older instructions saturate."""
    calibration: Literal['minmax', 'entropy', 'percentile'] = 'minmax'
    """How the range of activations is found. With minmax, auto also tries the two others if minmax loses more than half of maxDrop on validation."""
    percentile: Annotated[float, Field(ge=50, le=100)] | None = None
    """Percentile kept by calibration percentile, 99.99 by default."""
    bias_correction: bool = False
    """Correct the mean shift that rounding weights causes (Nagel et al. 2019)."""
    equalization: bool = False
    """Even out the ranges of consecutive layers first (cross-layer equalisation, Nagel et al. 2019)."""
    bits: Annotated[int, Field(ge=2, le=8)] | None = None
    """Bits a weight for weightOnly."""
    exclude: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(max_length=256)] | None = None
    """Names of ONNX nodes to leave in floating point, with * as a wildcard."""
    max_drop: Annotated[float, Field(ge=0, le=1)] = 0.01
    """For auto, how much worse than fp32 a candidate may be on validation, in the task's first metric (accuracy as a share; RMSE relative)."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0
    """Smallest share of the matrix multiplications and convolutions (by multiply-accumulates) that must run in integers in the optimised graph; less fails the stage. Not checked if auto keeps fp32."""


class Recipe(Spec):
    """The stages, which always run in this order. Each is optional, but at least one is required."""

    allow_noop: bool = False
    """Let prune, finetune and quantize succeed although they changed nothing. Without it, such a stage is an error."""
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    """Where prune and finetune compute, and the outcomes of models that are not quantized. auto uses CUDA if available; with cuda the first stage fails without it. Latency and memory are always measured on the CPU."""
    retrain: Retrain | None = None
    """Retrain the model on new data before compressing it. Not supported yet by this version."""
    prune: Prune | None = None
    """Remove weights. Exactly one of structured, unstructured, nm and truncate."""
    finetune: Finetune | None = None
    """Train the compressed model further; with distillation, the original is its teacher."""
    quantize: Quantize | None = None
    """Replace floating point by integers."""


class RecipeRef(Spec):
    """Reference to a recipe object, instead of recipe. It is read when the job starts; later changes to it do not affect the job."""

    kind: Literal['CompressionRecipe', 'ClusterCompressionRecipe'] = 'CompressionRecipe'
    """CompressionRecipe is in the job's namespace, ClusterCompressionRecipe is for all."""
    name: Annotated[str, Field(max_length=253, pattern='^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')]
    """Its name."""


class GatePolicyRef(Spec):
    """Reference to an object with gates, instead of gates. It is read when the job starts; later changes to it do not affect the job."""

    kind: Literal['GatePolicy', 'ClusterGatePolicy'] = 'GatePolicy'
    """GatePolicy is in the job's namespace, ClusterGatePolicy is for all."""
    name: Annotated[str, Field(max_length=253, pattern='^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')]
    """Its name."""


class GateSlice(Spec):
    """The slice, and the margin for each of its values."""

    by: Annotated[str, Field(min_length=1, max_length=63)]
    """class, or a name of data.slices."""
    margin: Annotated[float, Field(ge=0)] | None = None
    """Margin on each slice, if it differs from the gate's."""
    min_samples: Annotated[int, Field(ge=1, le=1000000000)] = 30
    """Values with fewer examples than this are left out, and the report says so."""


class Gate(Spec):
    """One rule over what validate measured."""

    name: Annotated[str, Field(max_length=63, pattern='^[a-z]([a-z0-9-]*[a-z0-9])?$')]
    """Name of the gate in status, events and reports."""
    kind: Literal['nonInferiority', 'threshold', 'change', 'speedup', 'size', 'memory', 'churn', 'calibration', 'fidelity']
    """nonInferiority - the paired interval of the metric's change stays above -margin. threshold - the candidate's metric itself. change - the metric relative to the baseline's. speedup - baseline latency over candidate latency. size - relative to the baseline's. memory - relative to the baseline's. churn - share of changed answers. calibration - expected calibration error (ECE). fidelity - an output after the first, compared with the baseline's."""
    mode: Literal['Enforce', 'DryRun'] = 'Enforce'
    """DryRun decides and reports, but does not block."""
    metric: Literal['accuracy', 'top5', 'macroF1', 'logLoss', 'mse', 'ece', 'auc', 'rmse', 'mae', 'r2'] | None = None
    """Metric of the task."""
    output: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """For fidelity, the output, one after the first. The gate replaces the default one of that output (relative error at most 0.07, equal answers at least 0.9)."""
    margin: Annotated[float, Field(ge=0, le=1000000)] | None = None
    """How much worse is still as good, in the metric's own unit (0.01 is one point of accuracy)."""
    min: float | None = None
    """Smallest accepted value (threshold - of the metric; change - of candidate / baseline - 1; speedup - of the ratio; fidelity - of the share of equal answers)."""
    max: float | None = None
    """Largest accepted value (threshold - of the metric; change - of candidate / baseline - 1; size and memory - of candidate / baseline; churn - a share; calibration - the candidate's ECE; fidelity - of the relative error)."""
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.95
    """Confidence of the two-sided interval that decides."""
    min_samples: Annotated[int, Field(ge=1, le=1000000000)] = 30
    """Fewer test examples (or groups, or timed pairs of calls) than this are inconclusive. Slices have their own minSamples."""
    max_gain: Annotated[float, Field(gt=0)] | None = None
    """A gain above this, in the metric's own unit, is implausible and anomalous. Default 0.05 for metrics that are shares."""
    batch: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Batch size for speedup, one of measure.batchSizes; 1 by default."""
    slices: Annotated[tuple[GateSlice, ...], Field(max_length=16)] | None = None
    """Also decide on each value of these slices. A slice must not be worse than margin even if the whole is fine."""


class Baseline(Spec):
    """The model that the candidate is compared with."""

    kind: Literal['Source', 'Channel'] = 'Source'
    """Source is spec.model; Channel is what the promotion channel holds when the job is accepted, and only that is then replaced."""


class Measure(Spec):
    """How latency and memory are measured."""

    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=1, max_length=8)] = (1, 32)
    """Batch sizes to time, 1 and 32 by default."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Intra-op threads, pinned. It should be what serving uses."""
    pairs: Annotated[int, Field(ge=200, le=1000000)] = 400
    """Interleaved pairs of calls a batch size, over all sessions."""
    sessions: Annotated[int, Field(ge=5, le=100)] = 5
    """Fresh pairs of sessions that the pairs are spread over."""
    warmup: Annotated[int, Field(ge=20, le=10000)] = 20
    """Calls of each session that are not counted."""
    percentiles: Annotated[tuple[Annotated[int, Field(ge=50, le=99)], ...], Field(max_length=4)] = (95,)
    """Percentiles to report beside the median."""


class Placement(Spec):
    """Pools of the operator's settings that the stages run on, for the engines that have nodes, job and kubeflow. Default, the pool named default, or any node."""

    compute: Annotated[str, Field(max_length=63)] | None = None
    """Pool for the compute stages."""
    measure: Annotated[str, Field(max_length=63)] | None = None
    """Pool for validate; hardware like the serving one. Default, the pool of the compute stages."""
    fuse: Literal['None', 'Compute', 'All'] | None = None
    """Which stages share a pod on engine kubeflow, where each pod costs seconds. Compute, all but validate; All, validate too, on the pool of the compute stages; None, a pod for each stage. Default, the operator's setting."""


class Promotion(Spec):
    """The channel that a passing candidate is promoted to. Without it, the candidate stays in the store and nothing is promoted."""

    channel: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of a ModelChannel in the same namespace."""
    mode: Literal['Automatic', 'Manual'] = 'Manual'
    """Automatic creates the ModelPromotion on a Pass; Manual waits for a user to create it, for instance with fulcrum promote."""


class StageDeadlineSeconds(Spec):
    """Time for each stage; a stage over it is stopped and fails."""

    evaluate: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the stage."""
    convert: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the stage."""
    prune: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the stage."""
    finetune: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the stage."""
    quantize: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the stage."""
    validate_: Annotated[Annotated[int, Field(ge=1, le=31536000)] | None, Field(alias='validate')] = None
    """Time for the stage."""


class CompressionJobSpec(Spec):
    """The model to compress or a candidate that is there already, the data, the recipe, and the gates that the result must pass."""

    model: Model | None = None
    """The trained model. It may be left out if a candidate is compared with what a channel holds."""
    candidate: Model | None = None
    """A model that something else made, instead of a recipe. It is compared with model, or with what the channel holds, and must take the same inputs and give the same outputs. Nothing changes it, except that a bundle or a .pt2 file is exported to ONNX."""
    data: Data
    """The data sets. Nothing is ever tuned on test."""
    recipe: Recipe | None = None
    """The stages, which always run in this order. Each is optional, but at least one is required."""
    recipe_ref: RecipeRef | None = None
    """Reference to a recipe object, instead of recipe. It is read when the job starts; later changes to it do not affect the job."""
    gate_policy_ref: GatePolicyRef | None = None
    """Reference to an object with gates, instead of gates. It is read when the job starts; later changes to it do not affect the job."""
    gates: Annotated[tuple[Gate, ...], Field(max_length=64)] | None = None
    """Conditions that the candidate must meet. All enforced gates must pass; an empty list never passes."""
    baseline: Baseline = Baseline()
    """The model that the candidate is compared with."""
    measure: Measure = Measure()
    """How latency and memory are measured."""
    placement: Placement | None = None
    """Pools of the operator's settings that the stages run on, for the engines that have nodes, job and kubeflow. Default, the pool named default, or any node."""
    promotion: Promotion | None = None
    """The channel that a passing candidate is promoted to. Without it, the candidate stays in the store and nothing is promoted."""
    engine: Literal['process', 'job', 'kubeflow'] = 'process'
    """Engine that runs the pipeline, one of those that the operator's settings enable. process runs it on the operator's own machine, job and kubeflow on nodes of a cluster."""
    suspend: bool = False
    """Do not start the job, or stop its run and keep the finished stages. Resuming restarts the clock of activeDeadlineSeconds."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """Time for the whole job, counted from its start or last resume, without what its run waits in a queue of the cluster; over it, the run is stopped and the job fails."""
    stage_deadline_seconds: StageDeadlineSeconds | None = None
    """Time for each stage; a stage over it is stopped and fails."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 3
    """Retries after infrastructure faults; a model or data that is wrong is never tried twice."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315360000)] | None = None
    """Delete the job this long after it finished. Evidence and artifacts stay in the store."""
    allow_weak_baseline: bool = False
    """Accept a baseline that answers one class only, or that no gate's metric can tell from a constant answer (the most frequent class, the mean). Without it the verdict is Anomalous, since such a comparison proves nothing."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """Seed of everything that is random."""
    managed_by: Annotated[str, Field(max_length=63)] | None = None
    """Another controller that runs this job; if set, the operator ignores the job."""
