"""Generate what the docs take from the code: `python docs/generate.py [--check]`.

They are the JSON schema of the evidence and the tables in metrics.md, settings.md, gates.md and
kubeflow.md, whose other text is written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from fulcrum_operator.controllers.planner import make_plan
from fulcrum_operator.metrics.families import GROUPS, Family
from fulcrum_operator.metrics.labels import OTHER, Label
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.catalog import GATE_KINDS, METRICS, TASKS, MetricKind, tasks_of_metric
from fulcrum_pipelines.compiled import Fuse, tasks_of
from fulcrum_pipelines.evidence import SCHEMA, Evidence, StageName
from fulcrum_pipelines.manifests import load_job

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"
SIMULATIONS = DOCS.parent / "tests" / "simulations" / "results.json"
BEGIN = "<!-- generated: {what} -->\n"
END = "<!-- end of generated -->\n"


def evidence_schema() -> str:
    """Return the JSON schema of `evidence.json`."""
    schema = {"$id": SCHEMA, "title": "Fulcrum evidence", **Evidence.model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def page(name: str, parts: Mapping[str, str]) -> str:
    """Return the page `name` with its generated `parts` updated."""
    text = (DOCS / name).read_text()
    for what, generated in parts.items():
        begin = BEGIN.format(what=what)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(END)
        text = f"{before}{begin}{generated}{END}{after}"
    return text


def metrics_page() -> str:
    """Return metrics.md with its tables updated."""
    return page("metrics.md", {"metrics": metrics_tables()})


def settings_page() -> str:
    """Return settings.md with its table updated."""
    head = "\n| setting | default | what |\n|---|---|---|\n"
    return page("settings.md", {"settings": head + "".join(_setting_rows(Settings, "")) + "\n"})


def _setting_rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield a row for each setting, those of nested parts under their path."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _setting_rows(kind, f"{prefix}{name}.")
        else:
            what = " ".join((field.description or "").split())
            default = "" if field.default in (None, "", ()) else f"`{field.default}`"
            yield f"| `{prefix}{name}` | {default} | {what} |\n"


def metrics_tables() -> str:
    """Return a table of families for each group, and one of what the labels may be."""
    tables = [
        f"### {title}\n\n| name | type | labels | what |\n|---|---|---|---|\n"
        + "".join(map(_family_row, families))
        for title, families in GROUPS.items()
    ]
    labels = {label: None for group in GROUPS.values() for one in group for label in one.labels}
    rows = sorted(map(_label_row, labels))
    tables.append("### Values of labels\n\n| label | values |\n|---|---|\n" + "".join(rows))
    return "\n" + "\n".join(tables) + "\n"


def _family_row(family: Family) -> str:
    labels = ", ".join(f"`{label.name}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |\n"


def _label_row(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values)
    return f"| `{label.name}` | {values or f'at most {label.at_most}, then `{OTHER}`'} |\n"


def gates_page() -> str:
    """Return gates.md with the table of the metrics and those of the simulations."""
    return page("gates.md", {"metrics": catalog_table(), "simulations": simulation_tables()})


def catalog_table() -> str:
    """Return the table of the metrics that gates can look at."""
    head = "\n| metric | what | `data.task` | better | unit | `maxGain` by default |\n"
    return head + "|---|---|---|---|---|---|\n" + "".join(map(_metric_row, METRICS.values())) + "\n"


def _metric_row(metric: MetricKind) -> str:
    cells = (
        f"`{metric.name}`",
        metric.label,
        ", ".join(tasks_of_metric(metric.name)),
        metric.direction,
        "0 to 1, in %" if metric.share else metric.unit,
        "" if metric.max_gain is None else f"{metric.max_gain:g}",
    )
    return f"| {' | '.join(cells)} |\n"


def simulation_tables() -> str:
    """Return how often gates are wrong, for each kind and task."""
    rows = json.loads(SIMULATIONS.read_text())
    gates = list(dict.fromkeys(row["gate"] for row in rows))
    margins = {name for name, kind in GATE_KINDS.items() if kind.has_margin}
    parts = [
        [gate for gate in gates if gate.split()[0] in kinds and _first_task(gate) == task]
        for kinds in (margins, GATE_KINDS.keys() - margins)
        for task in TASKS
    ]
    tables = [_simulation_table(rows, part) for part in parts if part]
    worst = max(rows, key=lambda row: row["worse"])
    summary = (
        f"{len(rows)} cells of {min(row['runs'] for row in rows):,} test sets each; the worst has "
        f"{100 * worst['worse']:.2g} % false passes ({worst['gate']}, {worst['world']}).\n"
    )
    return "\n" + "\n".join([summary, *tables]) + "\n"


def _first_task(gate: str) -> str:
    """Return the first task of the metric that the name of a simulated gate ends with."""
    return (tasks_of_metric(gate.split()[-1]) or tuple(TASKS))[0]


def _simulation_table(rows: Sequence[dict[str, Any]], gates: Sequence[str]) -> str:
    """Return a table of worlds and `gates`: false passes / passes at half / passes of equals."""
    cells = {(row["world"], row["gate"]): row for row in rows if row["gate"] in gates}
    worlds = list(dict.fromkeys(world for world, _ in cells))
    head = f"| drawn | {' | '.join(gates)} |\n|---|{'---|' * len(gates)}\n"
    return head + "".join(
        f"| {world} | {' | '.join(_simulation_cell(cells.get((world, g))) for g in gates)} |\n"
        for world in worlds
    )


def _simulation_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return " / ".join(f"{100 * row[name]:.3g}" for name in ("worse", "half", "equal"))


def kubeflow_page() -> str:
    """Return kubeflow.md with the pods of each example."""
    head = "\n| example | stages | `None` | `Compute` | `All` |\n|---|---|---|---|---|\n"
    rows = [
        f"| `examples/{path.parent.name}` | {len(_stages(path))} "
        f"| {' | '.join(_pods(len(tasks_of(_stages(path), fuse))) for fuse in get_args(Fuse))} |\n"
        for path in sorted(EXAMPLES.glob("*/job.yaml"))
    ]
    composed = next(iter(yaml.safe_load_all((EXAMPLES / "kubeflow" / "digits.yaml").read_text())))
    tasks, conditions = _count(composed, composed["root"])
    rows.append(
        f"| `examples/kubeflow`, components in a pipeline of its own | {tasks} tasks "
        f"| {_pods(tasks, conditions)} | | |\n"
    )
    return page("kubeflow.md", {"pods": head + "".join(rows) + "\n"})


def _stages(path: Path) -> tuple[StageName, ...]:
    job = load_job(path)
    return make_plan(job.name, job.spec, job.directory).stages


def _count(pipeline: dict[str, Any], component: dict[str, Any]) -> tuple[int, int]:
    """Return how many tasks have a pod of their own, and how many are pipelines inside."""
    tasks = inside = 0
    for task in component["dag"]["tasks"].values():
        found = pipeline["components"][task["componentRef"]["name"]]
        more = _count(pipeline, found) if "dag" in found else (1, -1)
        tasks, inside = tasks + more[0], inside + more[1] + 1
    return tasks, inside


def _pods(tasks: int, pipelines_inside: int = 0) -> str:
    """Return how many pods a run has: one a task, and a driver for each task and pipeline."""
    drivers = 1 + tasks + pipelines_inside
    return f"{tasks + drivers} pods, {drivers} of them drivers"


TARGETS = {
    "kubeflow.md": kubeflow_page,
    "gates.md": gates_page,
    "evidence.schema.json": evidence_schema,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    check = parser.parse_args().check
    stale = 0
    for name, generate in TARGETS.items():
        path, text = DOCS / name, generate()
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        print(f"{'stale, run make docs' if check else 'written'}: docs/{name}")
        if not check:
            path.write_text(text)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
