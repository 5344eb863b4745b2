"""Puts the sections into the page.

The page must open from a file, in ten years, behind any proxy, and may hold names from anywhere: so
it has no script and no address, a policy that forbids both, and every text is escaped.
"""

from __future__ import annotations

import base64
import functools
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.gates.verdict import Verdict
from fulcrum_pipelines.report.blocks import Section
from fulcrum_pipelines.report.formatting import short_digest
from fulcrum_pipelines.report.reading import details
from fulcrum_pipelines.report.sections.confusion import confusion_section
from fulcrum_pipelines.report.sections.data import data_section
from fulcrum_pipelines.report.sections.finetuning import finetuning_section
from fulcrum_pipelines.report.sections.footprint import size_section
from fulcrum_pipelines.report.sections.gate_results import gates_section
from fulcrum_pipelines.report.sections.levers import levers_section
from fulcrum_pipelines.report.sections.outputs import outputs_section
from fulcrum_pipelines.report.sections.overview import headline, tiles
from fulcrum_pipelines.report.sections.provenance import (
    digests_section,
    environment_section,
    stages_section,
    warnings_of,
)
from fulcrum_pipelines.report.sections.pruning import pruning_section
from fulcrum_pipelines.report.sections.quality import quality_section
from fulcrum_pipelines.report.sections.quantization import quantization_section
from fulcrum_pipelines.report.sections.speed import speed_section
from fulcrum_pipelines.texts import printable

_SYMBOLS = {"good": "✓", "bad": "✕", "unclear": "?", "odd": "!", "quiet": "–"}


def render(evidence: Evidence, verdict: Verdict | None, *, title: str) -> str:
    """Return the report as one HTML document.

    Args:
        evidence: What the stages of the run recorded; stages may be missing.
        verdict: What the gates decided; None if there were none.
        title: Name of the job, for the heading.
    """
    environment = _environment()
    style = _style(environment)
    word, sentence, tone = headline(verdict)
    page = environment.get_template("report.html.j2").render(
        title=title,
        policy=_policy(style),
        style=Markup(style),
        word=word,
        sentence=sentence,
        reasons=() if verdict is None or verdict.outcome == "Pass" else verdict.reasons,
        tone=tone,
        symbol=_SYMBOLS[tone],
        tiles=tiles(details(evidence, ValidateDetails)),
        warnings=warnings_of(evidence),
        sections=sections(evidence, verdict),
        origin=_origin(evidence),
    )
    # Names come from models and data, and direction signs in them would reorder the text around.
    return printable(page)


@functools.cache  # compiling the template takes a quarter of the time of a page
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fulcrum_pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sections(evidence: Evidence, verdict: Verdict | None) -> tuple[Section, ...]:
    """Return all sections that have content, in the order of the page."""
    validate = details(evidence, ValidateDetails)
    found = (
        gates_section(verdict),
        quality_section(validate),
        outputs_section(validate),
        levers_section(validate),
        speed_section(validate),
        size_section(evidence),
        pruning_section(evidence),
        finetuning_section(evidence),
        quantization_section(evidence),
        confusion_section(validate),
        data_section(evidence),
        stages_section(evidence),
        environment_section(evidence),
        digests_section(evidence),
    )
    return tuple(section for section in found if section is not None)


def _style(environment: Environment) -> str:
    loader = environment.loader
    assert isinstance(loader, PackageLoader)
    return loader.get_source(environment, "report.css")[0]


def _policy(style: str) -> str:
    """Return a policy that allows this very style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _origin(evidence: Evidence) -> str:
    """Return which run this is, by whom and when."""
    parts = [f"Run {evidence.run}", f"plan {short_digest(evidence.plan)}"]
    if evidence.stages:
        last = evidence.stages[-1]
        parts += [f"finished {last.finished_at}", f"Fulcrum {last.fulcrum_version}"]
    return " · ".join(parts)
