"""Decides which files a model needs around it, and writes them without touching what is there."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fulcrum_operator.scaffolding.description import (
    MODELS,
    PROGRAM,
    Description,
    Tensor,
    describe,
)
from fulcrum_operator.scaffolding.guessing import guess_input, guess_output
from fulcrum_pipelines.catalog import METRICS, task_of_meaning
from fulcrum_pipelines.errors import UserError

LONGEST_NAME = 52
BUNDLE = "model"


@dataclass(frozen=True)
class Written:
    """The files that were made.

    Attributes:
        files: All files, the manifest last.
        edit: The files in which a person has to fill something in.
    """

    files: tuple[Path, ...]
    edit: tuple[Path, ...]


def scaffold(model: Path, directory: Path, *, force: bool) -> Written:
    """Write a manifest for `model`, and a bundle where `model` is a file of weights only.

    Raises:
        UserError: The model cannot be read, or a file is there already and `force` is not given.
    """
    description = describe(model)
    manifest = directory / "job.yaml"
    if model.suffix in MODELS:
        job = _job(model, description, uri=_address(model, directory), bundle=False)
        texts = {manifest: job}
        return _write(texts, {}, edit=(manifest,), force=force)
    return _bundle(model, description, directory, force=force)


def _bundle(model: Path, description: Description, directory: Path, *, force: bool) -> Written:
    """Write a bundle around the weights `model`, with the code beside them where it fits."""
    bundle = directory / BUNDLE
    known = description
    if not known.inputs:
        known = replace(
            description,
            inputs=(guess_input(description.tensors),),
            outputs=(guess_output(description.tensors),),
        )
    values = {**_values(known), "weights": model.name, "guessed": not description.inputs}
    texts = {}
    own = bundle / "model.py"
    if not known.entry_point and not (own.exists() and _same(bundle, model.parent)):
        texts[own] = _render("model.py.j2", **values)
    texts[bundle / "fulcrum.yaml"] = _render("fulcrum.yaml.j2", **values)
    texts[directory / "job.yaml"] = _job(model, known, uri=BUNDLE, bundle=True)
    copies = {bundle / name: model.parent / name for name in (model.name, *known.files)}
    edit = tuple(path for path, text in texts.items() if "EDIT" in text)
    return _write(texts, copies, edit=edit, force=force)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _job(model: Path, description: Description, *, uri: str, bundle: bool) -> str:
    task = task_of_meaning(description.meaning)
    return _render(
        "job.yaml.j2",
        name=_name(model.stem),
        uri=uri,
        task=task.name,
        metric=task.main,
        share=METRICS[task.main].share,
        bundle=bundle,
        program=model.suffix == PROGRAM,
        **_values(description),
    )


def _values(description: Description) -> dict[str, Any]:
    return {
        "tensors": description.tensors,
        "inputs": description.inputs,
        "outputs": description.outputs,
        "meaning": description.meaning,
        "entry_point": description.entry_point,
        "doubts": description.doubts,
        "problems": description.problems,
    }


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("fulcrum_operator.scaffolding"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = quoted
    environment.filters["comment"] = one_line
    environment.filters["shape"] = _shape
    return environment.get_template(template).render(**values)


def quoted(text: str) -> str:
    """Return `text` as a YAML scalar in double quotes where a plain one could be misread."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = "".join(
        character if character.isprintable() and character not in '"\\' else _escape(character)
        for character in text
    )
    return f'"{escaped}"'


def one_line(text: str) -> str:
    """Return `text` without anything that could end a comment."""
    return "".join(character if character.isprintable() else "?" for character in text)


_YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def _escape(character: str) -> str:
    return f"\\{character}" if character in '"\\' else f"\\U{ord(character):08x}"


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(quoted(str(s)) if isinstance(s, str) else str(s) for s in tensor.shape)}]"


def _name(stem: str) -> str:
    """Return a name that Kubernetes takes, made from a file's."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower())[:LONGEST_NAME].strip("-")
    return name or "job"


def _address(model: Path, directory: Path) -> str:
    """Return how a manifest in `directory` names `model`: a path below it, else a URL."""
    path, base = model.resolve(), directory.resolve()
    return str(path.relative_to(base)) if path.is_relative_to(base) else f"file://{path}"


def _write(
    texts: dict[Path, str], copies: dict[Path, Path], *, edit: tuple[Path, ...], force: bool
) -> Written:
    copies = {to: source for to, source in copies.items() if not _same(to, source)}
    existing = [str(path) for path in (*copies, *texts) if path.exists()]
    if existing and not force:
        message = f"{', '.join(existing)} would be overwritten; give --output or --force"
        raise UserError(message)
    try:
        for path, source in copies.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"cannot be written: {error}") from None
    return Written((*copies, *texts), edit)
