"""The recorded contract, asked again of a server: every exchange, in its order.

`contract.jsonl` restates what a server of version 2.17 answered. Ids are signs (`#12`), which
are replaced by the ids of the server under test. If time passed between two exchanges, the stand-in
gets the states of the real run one by one, and it refuses transitions that it never makes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

from kubeflow.server import PREFIX, Server
from kubeflow.world import StoredRun

CONTRACT = Path(__file__).with_name("contract.jsonl")
SIGN = re.compile(r"#\d+")
OPAQUE = frozenset({"pipeline_spec", "run_details", "parameters", "error_details"})
"""Fields compared only by presence: the contract or the stand-in does not keep their values."""
LOOSE = frozenset({"run_details", "details"})
"""Fields that may be absent: the real server adds them late, or the contract leaves them out."""
WORDS = (
    "ResourceNotFoundError",
    "Row not found",
    "Duplicate entry",
    "Data too long",
    "Incorrect string value",
    "error fetching manifest",
    "Run name cannot be empty",
    "empty pipeline spec",
    "belongs to pipeline",
    "Workflow must be Failed/Error",
    "error fetching workflow manifest",
    "workflows.argoproj.io",
    "are not required by pipeline",
    "is not optional, yet",
    "requires type",
    "unknown field",
    "unrecognized field",
    "failed to parse valid filter",
    "Invalid page token",
    "Invalid sorting field",
    "page token does not match",
    "Already exist",
    "Method Not Allowed",
    "unknown template format",
    "failed to parse pipeline spec",
)
"""Parts of messages that clients may depend on; both messages contain each, or neither does."""
KINDS = {
    "str": "STRING",
    "int": "NUMBER_INTEGER",
    "dict": "STRUCT",
    "list": "LIST",
}


def exchanges() -> list[dict[str, Any]]:
    """Return the lines of the contract."""
    return [json.loads(line) for line in CONTRACT.read_text().splitlines()]


@dataclass
class Replay:
    """Asks a server what the real one was asked.

    Attributes:
        server: It.
        ids: The id for each sign.
        token: Of the page that was asked for last.
    """

    server: Server
    ids: dict[str, str] = field(default_factory=dict)
    token: str = ""
    _http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def ask(self, line: Mapping[str, Any]) -> list[str]:
        """Do one line of the contract; return how the answer differs from the real one."""
        if line["name"] == "before":
            self._make(line)
            return []
        if "timeline" in line:
            self._live(line["timeline"])
            return []
        if "ran" in line:
            found = self.server.world.executions[self.ids[line["ran"]]]
            return list(differences(line["parameters"], found))
        if "gone" in line:
            run_id = self.ids[line["gone"]]
            with self.server.world.lock:
                self.server.world.workflows = [
                    each for each in self.server.world.workflows if each.run_id != run_id
                ]
        self._let_time_pass(line["answer"])
        status, answer = self._send(line)
        self._learn(line["answer"], answer)
        self.token = answer.get("next_page_token", self.token)
        found = list(differences(self._named(line["answer"]), answer))
        if line.get("partly"):
            found = [each for each in found if "total_size" not in each]
        if status != line["status"]:
            found.insert(0, f"status {status}, not {line['status']}")
        return found

    def _send(self, line: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        method, path = line["do"].split(" ", 1)
        query = {name: str(value) for name, value in self._named(line.get("query", {})).items()}
        if query.get("page_token") == "token":
            query["page_token"] = self.token
        url = f"{self.server.url}{PREFIX}{self._named(path)}"
        if query:
            url = f"{url}?{urlencode(query)}"
        if "upload" in line or ("text" in line and "upload" in path):
            content = ir(line["upload"]) if "upload" in line else line["text"]
            response = self._http.request(
                method, url, fields={"uploadfile": ("pipeline.yaml", content)}
            )
        else:
            text = line.get("text")
            if text is None and "body" in line:
                text = json.dumps(self._named(line["body"]))
            headers = {"Content-Type": "application/json"}
            response = self._http.request(method, url, body=text, headers=headers)
        return response.status, response.json()

    def _named(self, value: Any) -> Any:
        """Return `value` with ids for signs; a sign that never came in an answer gets one."""
        text = SIGN.sub(lambda sign: self._id(sign[0]), json.dumps(value))
        return json.loads(text)

    def _id(self, sign: str) -> str:
        return self.ids.setdefault(sign, str(uuid.uuid5(uuid.NAMESPACE_OID, sign)))

    def _learn(self, recorded: Any, found: Any) -> None:
        if isinstance(recorded, str) and SIGN.fullmatch(recorded) and isinstance(found, str):
            self.ids.setdefault(recorded, found)
        elif isinstance(recorded, dict) and isinstance(found, dict):
            for name in recorded.keys() & found.keys():
                self._learn(recorded[name], found[name])
        elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == 1:
            for one, other in zip(recorded, found, strict=False):
                self._learn(one, other)

    # --- what happened between two exchanges

    def _let_time_pass(self, answer: Mapping[str, Any]) -> None:
        for run in [answer, *answer.get("runs", [])]:
            sign = run.get("run_id", "")
            stored = self.server.world.runs.get(self.ids.get(sign, ""))
            if stored is not None and "state_history" in run:
                self._move(stored, run["state"], run["state_history"])

    def _live(self, timeline: list[tuple[str, list[str]]]) -> None:
        """A run that was watched goes through states that the stand-in allows too."""
        watched = StoredRun("watched", {})
        for state, history in timeline:
            self._move(watched, state, history)

    def _move(self, stored: StoredRun, state: str, history: list[str]) -> None:
        with self.server.world.lock:
            known = stored.history
            assert history[: len(known)] == known, f"{stored.run_id}: {known} before {history}"
            for step in history[len(known) :]:
                stored.move(step)
            if state == "CANCELING" and stored.state in ("PENDING", "RUNNING"):
                stored.state = state  # which is ahead of its history
            assert stored.state == state, f"{stored.run_id}: {stored.state}, not {state}"

    def _make(self, line: Mapping[str, Any]) -> None:
        """Make what was there before the recording began."""
        world = self.server.world
        with world.lock:
            if "run" in line:
                self._make_run(line)
                return
            made = world.upload_pipeline(line["pipeline"], line["display"], "", line["parameters"])
            version = next(
                each for each in world.versions.values() if each.pipeline_id == made["pipeline_id"]
            )
            self.ids |= dict(
                zip(line["ids"], (version.pipeline_id, version.version_id), strict=True)
            )

    def _make_run(self, line: Mapping[str, Any]) -> None:
        world, reference = self.server.world, line["pipeline"]
        if reference["pipeline_id"] not in self.ids:
            names = {name: KINDS_OF[type(v)] for name, v in line.get("parameters", {}).items()}
            made = world.upload_pipeline(line["name"] + line["run"], "", "", names)
            version = list(world.versions.values())[-1]
            self.ids[reference["pipeline_id"]] = made["pipeline_id"]
            self.ids[reference["pipeline_version_id"]] = version.version_id
        experiment = line.get("experiment")
        if experiment is not None and experiment not in self.ids:
            made = world.create_experiment({"display_name": experiment})
            self.ids[experiment] = made["experiment_id"]
        body: dict[str, Any] = {
            "run_id": line["run"],
            "display_name": line["display"],
            "pipeline_version_reference": reference,
        }
        if experiment is not None:
            body["experiment_id"] = experiment
        if "parameters" in line:
            body["runtime_config"] = {"parameters": line["parameters"]}
        made = world.create_run(self._named(body))
        for state in line["states"]:
            world.runs[made["run_id"]].move(state)


KINDS_OF: dict[type, str] = {str: "str", int: "int", float: "int", dict: "dict", list: "list"}


def differences(recorded: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield differences of `found` from the record, in form and in parts that clients depend on."""
    name = path.rpartition(".")[2]
    if isinstance(recorded, dict) and isinstance(found, dict):
        if odd := sorted((recorded.keys() ^ found.keys()) - LOOSE):
            yield f"{path or 'answer'}: {', '.join(odd)} on one side only"
        rows_of_a_page = {"runs"} if "next_page_token" in recorded else set()
        for key in sorted((recorded.keys() & found.keys()) - OPAQUE - rows_of_a_page):
            yield from differences(recorded[key], found[key], f"{path}.{key}")
        for key in rows_of_a_page & found.keys():
            if len(recorded[key]) != len(found[key]):
                yield f"{path}.{key}: {len(found[key])} rows, not {len(recorded[key])}"
    elif name == "state_history":
        if (states := [each.get("state", "") for each in found]) != recorded:
            yield f"{path}: {states}, not {recorded}"
    elif isinstance(recorded, list):
        yield from _list_differences(recorded, found, path)
    elif name in ("message", "error_message"):
        for word in WORDS:
            if (word in recorded) != (word in found):
                yield f"{path}: {word!r} on one side only: {found!r}, not {recorded!r}"
    elif name == "finished_at":
        if found.startswith("1970") != (recorded == ""):
            yield f"{path}: {found}"
    elif recorded not in ("", "token") and recorded != found:
        yield f"{path}: {found!r}, not {recorded!r}"


def _list_differences(recorded: list[Any], found: Any, path: str) -> Iterator[str]:
    """Rows of one second come in any order, so that names are compared, and the form of a first.

    For the same reason the rows of a page are any of the list, and only their number says a thing.
    """
    names = [sorted(str(each.get("display_name")) for each in rows) for rows in (recorded, found)]
    if len(recorded) != len(found) or (names[0] != names[1] and len(recorded) > 1):
        yield f"{path}: {names[1]}, not {names[0]}"
    elif recorded:
        ids = ("run_id", "pipeline_id", "pipeline_version_id", "experiment_id")
        same = [row for row in found if all(row.get(i) == recorded[0].get(i) for i in ids)]
        if not same:
            yield f"{path}: no row has the ids of {recorded[0].get('display_name')}"
        for row in same[:1]:
            yield from differences(recorded[0], row, f"{path}[0]")


def ir(parameters: Mapping[str, str]) -> str:
    """Return a compiled pipeline that is as long as it has to be."""
    definitions = {
        name: {"parameterType": KINDS[kind.rstrip("!")], "isOptional": not kind.endswith("!")}
        for name, kind in parameters.items()
    }
    root = {"dag": {"tasks": {}}, "inputDefinitions": {"parameters": definitions}}
    return yaml.safe_dump({"pipelineInfo": {"name": "p"}, "root": root, "schemaVersion": "2.1.0"})
