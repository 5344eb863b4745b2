"""How fine-tuning went, epoch by epoch."""

from __future__ import annotations

from fulcrum_pipelines.evidence import Evidence, FinetuneDetails
from fulcrum_pipelines.report.blocks import (
    Block,
    Facts,
    Figure,
    Figures,
    Section,
    Table,
    columns,
    missing,
    only,
    plural,
    row,
)
from fulcrum_pipelines.report.formatting import duration, number, percent
from fulcrum_pipelines.report.metric_styles import Style, style_of
from fulcrum_pipelines.report.plots.curves import Curve, curve_plot
from fulcrum_pipelines.report.reading import details
from fulcrum_pipelines.report.sections.quality import axis_writer


def finetuning_section(evidence: Evidence) -> Section:
    """Return the curves of loss and validation metric."""
    title = "Fine-tuning"
    tuned = details(evidence, FinetuneDetails)
    if tuned is None:
        return Section("finetuning", title, "", (missing("The recipe did not fine-tune."),))
    lead = "Losses on train and validation, and the metric that chose the best epoch."
    if not tuned.epochs:
        empty = missing("No epoch was completed.")
        return Section("finetuning", title, lead, (_facts(tuned), empty))
    figures = (_losses(tuned), *_metric(tuned))
    no_metric = None if _metric(tuned) else missing("The validation metric was not measured.")
    blocks: tuple[Block | None, ...] = (_facts(tuned), Figures(figures), no_metric, _table(tuned))
    return Section("finetuning", title, lead, only(blocks))


def _facts(tuned: FinetuneDetails) -> Facts:
    resumed = tuned.resumed_from_epoch
    kept = "dense" if tuned.sparsity_kept is None else percent(tuned.sparsity_kept, 1)
    return Facts(
        (
            ("Device", f"{tuned.device}, {tuned.precision}"),
            ("Epochs", f"{len(tuned.epochs)}, best {tuned.best_epoch}"),
            ("Stopped early", "yes" if tuned.stopped_early else "no"),
            ("Resumed", "no" if resumed is None else f"from epoch {resumed}"),
            ("Weights kept at zero", kept),
            ("Time", duration(sum(epoch.seconds for epoch in tuned.epochs))),
        )
    )


def _losses(tuned: FinetuneDetails) -> Figure:
    train = tuple((float(e.epoch), e.train_loss) for e in tuned.epochs)
    validation = tuple(
        (float(e.epoch), e.validation_loss) for e in tuned.epochs if e.validation_loss is not None
    )
    curves = [Curve("train", train, "baseline")]
    if validation:
        curves.append(Curve("validation", validation, "candidate"))
    svg = curve_plot(
        "finetune-loss",
        "Loss by epoch",
        f"Train loss from {number(train[0][1])} to {number(train[-1][1])}.",
        curves,
        write=axis_writer(Style("Loss")),
        x_name="epoch",
        marker=(float(tuned.best_epoch), "best"),
    )
    note = "" if validation else "Validation loss was not measured."
    return Figure(svg, heading="Loss", note=note)


def _metric(tuned: FinetuneDetails) -> tuple[Figure, ...]:
    points = tuple(
        (float(e.epoch), e.validation_metric)
        for e in tuned.epochs
        if e.validation_metric is not None
    )
    if not points:
        return ()
    style = style_of(tuned.metric)
    svg = curve_plot(
        "finetune-metric",
        f"Validation {style.label} by epoch",
        f"From {style.value(points[0][1])} to {style.value(points[-1][1])}.",
        [Curve("validation", points, "candidate")],
        write=axis_writer(style),
        x_name="epoch",
        marker=(float(tuned.best_epoch), "best"),
    )
    return (Figure(svg, heading=f"Validation {style.label.lower()}"),)


def _table(tuned: FinetuneDetails) -> Table:
    style = style_of(tuned.metric)
    return Table(
        plural(len(tuned.epochs), "epoch"),
        columns(
            "#Epoch",
            "#Train loss",
            "#Validation loss",
            f"#Validation {style.label.lower()}",
            "#Learning rate",
            "#Time",
        ),
        tuple(
            row(
                f"{epoch.epoch}",
                number(epoch.train_loss),
                number(epoch.validation_loss),
                style.value(epoch.validation_metric),
                number(epoch.learning_rate, 3),
                duration(epoch.seconds),
            )
            for epoch in tuned.epochs
        ),
        folded=True,
    )
