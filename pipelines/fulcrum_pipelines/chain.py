"""Records that go with a model from one Kubeflow component to the next, without a job's plan.

The artifact of prune, finetune and quantize, and the evidence of validate, is a directory: this
record as `fulcrum.json`, the model as it was given under `source/`, `model.onnx` for people, and in
`store/` all records and files of the run that made it, laid out as in any store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError

from fulcrum_pipelines.contract import to_json
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Digest, Record

CHAIN_SCHEMA: Final = "fulcrum.dev/chain/v1alpha1"
CHAIN_FILE = "fulcrum.json"
STORE = "store"


class Chain(Record):
    """How the model in a directory was made.

    Attributes:
        options: What was asked so far, as a job's specification without addresses.
        run: Key of the run in the directory's store.
        plan: Digest of its plan.
        source: Path of the model as it was given, relative to the directory.
        data: Digests of the files of the data sets that the newest component was given.
    """

    schema_version: Literal["fulcrum.dev/chain/v1alpha1"] = CHAIN_SCHEMA
    options: dict[str, Any]
    run: str
    plan: Digest
    source: str
    data: dict[str, Digest]


def write_chain(chain: Chain, directory: Path) -> None:
    """Write `chain` into `directory`."""
    (directory / CHAIN_FILE).write_bytes(to_json(chain) + b"\n")


def read_chain(directory: Path) -> Chain | None:
    """Return the record of the artifact at `directory`, or None if it has none.

    Raises:
        UserError: There is one that this version cannot read.
    """
    path = directory / CHAIN_FILE
    if not path.is_file():
        return None
    try:
        return Chain.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = f"not a record of a Fulcrum component: {field}: {first['msg']}"
        raise UserError(message, where=str(path)) from error
