"""Evidence: the measurements of a stage, as JSON with a versioned schema.

Gates decide from evidence alone, and it is kept without a limit in time, so its shape is a
promise: a field is added, never changed, within one `SCHEMA`. Numbers are finite or absent (`null`
with a `note` that says why), because JSON has no NaN and a gate must see that something is missing.
Units are in the names. The JSON schema in `docs/evidence.schema.json` is generated from here.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from fulcrum_pipelines.catalog import Direction, Meaning

SCHEMA: Final = "fulcrum.dev/evidence/v1alpha1"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
TimeKind = Literal["number", "date", "time", "time with a zone"]
StageName = Literal["evaluate", "convert", "prune", "finetune", "quantize", "validate"]


class Record(BaseModel):
    """Base of all evidence: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Artifact(Record):
    """A file in the store, named by its content."""

    name: str
    digest: Digest
    size_bytes: int
    media_type: str = "application/octet-stream"


class Environment(Record):
    """The machine of a measurement; a verdict holds for this hardware class only."""

    cpu_model: str
    cpu_flags: tuple[str, ...]  # those that matter to numeric code: avx2, avx512_vnni, amx_int8 ...
    logical_cpus: int
    accelerators: tuple[str, ...] = ()
    os: str
    python: str
    libraries: dict[str, str]


class Interval(Record):
    """A two-sided confidence interval."""

    level: Finite
    low: Finite
    high: Finite
    method: str


class Metric(Record):
    """One figure of one model on one data set."""

    name: str
    value: Finite | None
    direction: Direction
    unit: str = ""
    n: int
    slice: str = "all"  # "all", or "<by>=<value>"
    interval: Interval | None = None
    groups: int | None = None  # as in `Comparison`, like the three that follow
    effective_n: Finite | None = None
    unseen: Finite | None = None
    untested: Finite | None = None
    note: str = ""


class Counts(Record):
    """The 2x2 table of both models' right and wrong answers on the same examples."""

    both_right: int
    only_baseline_right: int  # broken by the candidate
    only_candidate_right: int  # fixed by the candidate
    both_wrong: int


class Comparison(Record):
    """Candidate against baseline on the same examples, for one metric on one slice.

    `delta` is candidate - baseline in the metric's own unit; `interval` is of `delta`, unoriented:
    `direction` says which sign is good. `p_inferior` is the one-sided p-value of "no worse than
    -margin" (small: measurably worse than the margin), for Holm's correction over slices; it is
    given only if a gate's margin applied.

    No interval is narrower than changes that the sample lacks allow: `unseen` is how much the
    metric changes if one more independent example is lost, and `effective_n` is how many there are
    of those that move it most (of the smallest class, or groups instead of examples). A mean over
    classes is wider by `untested` at both ends, for classes that have no example.
    """

    metric: str
    direction: Direction
    unit: str = ""
    slice: str = "all"
    n: int
    groups: int | None = None  # resampled units, if examples are not independent
    baseline: Finite | None
    candidate: Finite | None
    delta: Finite | None
    interval: Interval | None
    margin: Finite | None = None
    p_inferior: Finite | None = None
    counts: Counts | None = None
    mcnemar_p: Finite | None = None
    churn: Finite | None = None  # share of examples with another answer
    churn_interval: Interval | None = None
    effective_n: Finite | None = None
    unseen: Finite | None = None
    untested: Finite | None = None
    note: str = ""


class OutputFidelity(Record):
    """How well the candidate keeps one output after the first, on the test examples.

    `relative_error` is the root of the sum of squared differences divided by that of `reference`,
    the baseline's standard deviation unless it is constant; `agreement` the share of examples with
    the same `answer`. An example on which NaN, infinity, fill values or shapes differ is `wrong`,
    and counts as such in both.
    """

    output: str
    kind: str  # element type
    n: int
    groups: int | None = None  # resampled units, if examples are not independent
    unit: Literal["examples", "calls"] = "examples"  # calls of one example: no axis counts them
    reference: str = ""  # "standard deviation", "root mean square", or "none": all zeros
    relative_error: Finite | None = None  # null for whole numbers
    relative_error_interval: Interval | None = None
    answer: str = ""  # "largest value", "sign", "rounded", "equal values"; empty: it has none
    agreement: Finite | None = None
    agreement_interval: Interval | None = None
    wrong: int = 0
    not_finite: int = 0  # examples on which only the candidate gives NaN or infinity
    comparisons: tuple[Comparison, ...] = ()  # of metrics, if the output has a target
    note: str = ""


class LeverMetrics(Record):
    """The test metrics after one lever, and their change from the model before it."""

    lever: str  # "baseline" or a stage
    model: Digest
    metrics: tuple[Metric, ...]
    against_baseline: tuple[Comparison, ...] = ()
    against_previous: tuple[Comparison, ...] = ()
    fidelity: tuple[OutputFidelity, ...] = ()  # to the baseline


class LatencyDistribution(Record):
    """Latency of one model at one batch size, in milliseconds a call."""

    n: int
    median_ms: Finite
    mean_ms: Finite
    percentiles_ms: dict[str, Finite]  # "p95": ...
    histogram_ms: tuple[
        Finite, ...
    ] = ()  # evenly spaced quantiles 0..100 % (101 values), for plots


class RatioInterval(Record):
    """An interval of baseline latency / candidate latency: above 1 is faster."""

    ratio: Finite
    interval: Interval


class LatencyComparison(Record):
    """Interleaved timing of both models at one batch size (design section 7).

    Validate keeps the timings of each call in its output `timings.npz`.
    """

    batch: int
    threads: int
    pairs: int
    sessions: int
    warmup: int
    optimization_level: str
    baseline: LatencyDistribution
    candidate: LatencyDistribution
    speedup: RatioInterval
    aa: RatioInterval  # the baseline against itself; must contain 1
    cpu_share: Finite | None = None  # CPU time for each unit of time; below 1, calls had to wait
    reliable: bool
    note: str = ""


class SizeComparison(Record):
    """Bytes of both model files, as they are and gzipped; peak memory of a serving session."""

    baseline_bytes: int
    candidate_bytes: int
    baseline_gzip_bytes: int
    candidate_gzip_bytes: int
    baseline_peak_memory_bytes: int | None = None
    candidate_peak_memory_bytes: int | None = None
    memory_note: str = ""


class Overlap(Record):
    """Test examples that also stand in another set, found by hash of the inputs."""

    other: str
    examples: int
    first_indices: tuple[int, ...] = ()


class TimeSplit(Record):
    """When the examples of test and of another data set are from, by `data.timeColumn`."""

    other: str
    kind: TimeKind  # what the column holds in both
    test_first: str
    test_last: str
    other_first: str
    other_last: str
    test_not_later: int  # test examples that are not later than `other_last`
    other_not_earlier: int  # examples of the other that are not earlier than `test_first`

    @property
    def problem(self) -> str:
        """Why test is not later than the other data, in words; empty if it is."""
        if not self.test_not_later:
            return ""
        return (
            f"{self.test_not_later} test examples are not later than all of {self.other}: test is "
            f"from {self.test_first} to {self.test_last}, {self.other} from {self.other_first} to "
            f"{self.other_last}, with {self.other_not_earlier} examples from {self.test_first} on"
        )


class AddressRead(Record):
    """One address of a data set, with what was read there.

    The digest is that of the file, or of the lines "<name> <SHA-256>" of its files in the order in
    which they were read; a folder of images has a line for each image, by relative path.
    """

    address: str
    digest: Digest
    size_bytes: int
    files: int
    examples: int  # that lie there, before skip and take


class DataRead(Record):
    """The addresses of one data set that a stage read, in order."""

    data: str
    digest: Digest  # of the examples in order, as among the stage's inputs
    examples: int
    addresses: tuple[AddressRead, ...]
    skipped: tuple[str, ...] = ()  # addresses with nothing there, which the manifest allows


class Copies(Record):
    """Test examples with the same inputs, found by hash."""

    distinct: int  # examples that differ from all others, and one of each set of copies
    effective: Finite  # Kish's n of sets of copies: (sum of sizes)^2 / sum of squared sizes
    sets: int  # of at least two examples
    disagreeing: int  # sets whose examples do not all have the same answer


class ConfusionMatrix(Record):
    """Rows are the right class, columns the answer."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class FirstOutput(Record):
    """Range of the baseline's first output on the test data, as the model returned it."""

    meaning: Meaning  # declared, or found in the graph
    low: Finite
    high: Finite
    sum_low: Finite | None = None  # of the values of one example, if they may have to sum to 1
    sum_high: Finite | None = None
    only_class: int | None = None  # the answer to all examples, if it is always the same
    # One logit for two classes: examples that are right only if it is cut at 0 (as logits are), and
    # only if it is cut at 0.5 (as scores between 0 and 1 are).
    right_at_zero: int | None = None
    right_at_half: int | None = None
    # Relative error of the outputs of single examples in a batch of their own copies, against a
    # batch with other examples; null if the model takes one at a time.
    alone_error: Finite | None = None


class ClassLabel(Record):
    """One label of the data, and its class of the model."""

    label: str  # as the data spell it
    folder: bool = False  # it is the name of a folder of images
    index: int  # of the model's output
    name: str  # of the class
    examples: dict[str, int] = {}  # how many have it, by data set


class LabelMapping(Record):
    """The class of each label; the same for every data set and stage."""

    how: str
    labels: tuple[ClassLabel, ...]


class Conversion(Record):
    """A conversion of values of some data sets before the model gets them."""

    data: tuple[str, ...]
    text: str


class EvaluateDetails(Record):
    kind: Literal["evaluate"] = "evaluate"
    metrics: tuple[Metric, ...]
    confusion: ConfusionMatrix | None = None
    parameters: int | None = None
    macs: int | None = None  # multiply-accumulates for one example
    export_max_difference: Finite | None = None  # exported ONNX against torch, largest absolute
    test_examples: int
    overlaps: tuple[Overlap, ...] = ()
    time_splits: tuple[TimeSplit, ...] = ()
    advice: tuple[str, ...] = ()  # e.g. the test set is too small for a gate's margin
    first_output: FirstOutput | None = None
    constant_answer: tuple[Metric, ...] = ()  # of the best answer that ignores the inputs
    weak_baseline_allowed: bool = False  # spec.allowWeakBaseline

    labels: LabelMapping | None = None  # of a classification
    conversions: tuple[Conversion, ...] = ()
    provider: str | None = None  # of ONNX Runtime, that computed the outcomes; null: not recorded


class ConvertDetails(Record):
    """How a candidate that was given became the ONNX file that validate measures.

    The digest of what was given is the stage's input `candidate`.
    """

    kind: Literal["convert"] = "convert"
    format: str  # of what was given: bundle, pt2 or onnx
    interface: str  # inputs and outputs, which are those of the baseline
    meaning: Meaning  # of the first output
    export_max_difference: Finite | None = None  # exported ONNX against torch, largest absolute


class LayerSparsity(Record):
    layer: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    sparsity: Finite  # share of zeros in what is left; for structured pruning share of outputs gone
    note: str = ""


class Sensitivity(Record):
    """Validation metric with only this layer pruned."""

    layer: str
    sparsity: Finite
    metric: str
    value: Finite
    delta: Finite


class PruneDetails(Record):
    kind: Literal["prune"] = "prune"
    method: str
    asked_sparsity: Finite | None
    achieved_sparsity: Finite  # of what the method may touch
    removed_share: Finite | None = None  # gone or newly zero, of all weights in the file before
    left_whole: tuple[str, ...] = ()  # kinds of layers none of whose weights went, with their share
    round_to: int | None = None
    parameters_before: int
    parameters_after: int  # non-zero parameters for unstructured methods are in nonzero_after
    nonzero_after: int
    macs_before: int | None
    macs_after: int | None
    layers: tuple[LayerSparsity, ...]
    sensitivity: tuple[Sensitivity, ...] = ()
    batch_norm_examples: int = 0
    device: str | None = None  # of all that was computed but the export; null: not recorded
    validation_before: tuple[Metric, ...] = ()
    validation_after: tuple[Metric, ...] = ()
    size_bytes: int
    gzip_bytes: int
    speed_claim: str = ""


class Epoch(Record):
    epoch: int
    train_loss: Finite
    validation_loss: Finite | None
    validation_metric: Finite | None
    learning_rate: Finite
    seconds: Finite


class FinetuneDetails(Record):
    kind: Literal["finetune"] = "finetune"
    device: str
    precision: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    resumed_from_epoch: int | None = None
    sparsity_kept: Finite | None = None
    metric: str


class QuantizationCandidate(Record):
    name: str  # "u8s8-per-channel", "dynamic", ...
    size_bytes: int
    quality: Finite | None  # on validation
    quality_delta: Finite | None
    speedup: RatioInterval | None  # over all batch sizes, against what quantize was given
    int8_coverage: Finite | None
    kept: bool
    reason: str
    timings: tuple[LatencyComparison, ...] = ()  # at each batch size


class UnquantizedNode(Record):
    name: str
    op_type: str
    reason: str


class LayerBits(Record):
    """Precision of one layer of the chosen model, read back from the graph as it runs.

    Bits are those that the values are held in, 32 where that is floating point. Where `integer` is
    false although they are 8, values are rounded, and multiplied in floating point all the same.
    """

    layer: str  # its node in the fp32 graph
    op_type: str
    weights: str = ""  # name of the weight tensor there, for exported models the parameter's
    weight_bits: int | None  # null: both operands are activations
    activation_bits: int | None  # null: it looks rows up and reads none
    integer: bool
    note: str = ""


class EqualizedPair(Record):
    """Two consecutive layers whose ranges of weights cross-layer equalisation made even.

    A spread is the widest range of a channel that both share divided by the narrowest, over the
    outputs of the first layer or the inputs of the second; one scale a tensor fits a spread of 1.
    """

    first: str
    second: str
    channels: int
    first_spread_before: Finite
    first_spread_after: Finite
    second_spread_before: Finite
    second_spread_after: Finite


class QuantizeDetails(Record):
    kind: Literal["quantize"] = "quantize"
    chosen: str
    reason: str
    metric: str
    candidates: tuple[QuantizationCandidate, ...]
    int8_coverage: Finite  # by multiply-accumulates, in the optimised graph
    weight_share: Finite | None = None  # of all weights, held in fewer bits in the written file
    quantized_nodes: int
    unquantized: tuple[UnquantizedNode, ...] = ()
    calibration_examples: int = 0
    calibration_peak_bytes: int | None = None
    bits: int | None = None
    accounted_bytes: int | None = (
        None  # weightOnly: what packed weights and their scales would take
    )
    opset: int
    layers: tuple[LayerBits, ...] = ()
    equalized: tuple[EqualizedPair, ...] = ()
    prefer: str = ""  # auto: what it chose by, latency, size or quality
    timing_reliable: bool | None = None  # null: nothing was chosen by timing

    @property
    def timed(self) -> bool:
        """Whether the result rests on the clock."""
        return self.timing_reliable is not None

    @property
    def reliable(self) -> bool:
        """Whether no timing of it is unreliable."""
        return self.timing_reliable is not False


class ValidateDetails(Record):
    """Details of validate, from which the gates decide."""

    kind: Literal["validate"] = "validate"
    baseline_model: Digest
    candidate_model: Digest
    test_data: Digest
    test_examples: int
    provider: str | None = None  # of ONNX Runtime, that computed all outcomes; null: not recorded
    comparisons: tuple[Comparison, ...]
    metrics_baseline: tuple[Metric, ...]
    metrics_candidate: tuple[Metric, ...]
    levers: tuple[LeverMetrics, ...] = ()
    latency: tuple[LatencyComparison, ...] = ()
    size: SizeComparison
    overlaps: tuple[Overlap, ...] = ()
    # Data sets whose overlap with test was computed beside code of the data's or model's author;
    # null: all of them, as earlier versions did.
    overlap_on_trust: tuple[str, ...] | None = None
    time_column: str | None = None  # data.timeColumn
    time_splits: tuple[TimeSplit, ...] = ()
    copies: Copies | None = None  # null with data.groupBy, which says what belongs together
    confusion_baseline: ConfusionMatrix | None = None
    confusion_candidate: ConfusionMatrix | None = None
    identical_models: bool = False
    output_names: tuple[str, ...] | None = None  # of the model; null in evidence of older versions
    ignored_outputs: tuple[str, ...] = ()  # as the manifest declares
    fidelity: tuple[OutputFidelity, ...] = ()  # of each output after the first, once a confidence

    @property
    def timed(self) -> bool:
        """Whether the result rests on the clock."""
        return bool(self.latency)

    @property
    def reliable(self) -> bool:
        """Whether no timing of it is unreliable."""
        return all(each.reliable for each in self.latency)


Details = Annotated[
    EvaluateDetails
    | ConvertDetails
    | PruneDetails
    | FinetuneDetails
    | QuantizeDetails
    | ValidateDetails,
    Field(discriminator="kind"),
]


class Origin(Record):
    """The execution of a stage that did the work which others take from the cache."""

    run: str
    plan: Digest
    started_at: str
    finished_at: str
    seconds: Finite


class StageEvidence(Record):
    """The record of one stage: `runs/<key>/stages/<stage>.json`."""

    schema_version: Literal["fulcrum.dev/evidence/v1alpha1"] = SCHEMA
    stage: StageName
    run: str
    fulcrum_version: str
    plan: Digest
    inputs_digest: Digest  # of everything that the result depends on: the cache key
    # The run that did the work, if this execution did not. It may have the same name as this run,
    # which is that of the job's content: `origin` says when it was.
    cached_from: str | None = None
    origin: Origin | None = None  # beside cached_from; null in evidence of older versions
    started_at: str
    finished_at: str
    seconds: Finite
    peak_memory_bytes: int
    inputs: dict[str, Digest]
    data: tuple[DataRead, ...] = ()  # read for this record's digests, also if the rest is cached
    outputs: tuple[Artifact, ...]
    environment: Environment
    warnings: tuple[str, ...] = ()
    details: Details

    def taken_by(self, run: str, plan: str) -> StageEvidence:
        """Return this record as that of `run`, which takes it instead of doing the work."""
        origin = self.origin
        if self.cached_from is None:
            origin = Origin(
                run=self.run,
                plan=self.plan,
                started_at=self.started_at,
                finished_at=self.finished_at,
                seconds=self.seconds,
            )
        cached_from = self.cached_from or self.run
        changes = {"run": run, "plan": plan, "cached_from": cached_from, "origin": origin}
        return self.model_copy(update=changes)


class Evidence(Record):
    """The whole: `runs/<key>/evidence.json`."""

    schema_version: Literal["fulcrum.dev/evidence/v1alpha1"] = SCHEMA
    run: str
    plan: Digest
    stages: tuple[StageEvidence, ...]

    def stage(self, name: StageName) -> StageEvidence | None:
        """Return the record of stage `name`, or None if the recipe lacks it."""
        return next((stage for stage in self.stages if stage.stage == name), None)
