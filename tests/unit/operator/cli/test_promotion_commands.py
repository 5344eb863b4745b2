"""Test the channel commands on histories, jobs and refusals, without a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from api_stand_in import refusal
from builders.plans import make_digest
from channels import World, make_channel, make_promotion, make_rollback
from typer.testing import CliRunner

from fulcrum_operator.cli.history import HEADS, lines
from fulcrum_operator.cli.main import app
from fulcrum_operator.cli.refusals import CommandError, explain
from fulcrum_operator.cli.rollback import choose
from fulcrum_operator.kubernetes.errors import error_from
from fulcrum_operator.promotion.seen import Channel
from fulcrum_pipelines.manifests import check_file

COMMANDS = ("promote", "approve", "rollback", "release", "history")
DOCUMENT = Path(__file__).parents[4] / "docs" / "promotion.md"


def channel_after(*moves: str) -> Channel:
    """Return a channel that went through `moves`; a `<` before a model means rolled back to it."""
    world = World.of(make_channel(), [])
    for number, move in enumerate(moves):
        make = make_rollback if move.startswith("<") else make_promotion
        promotion = make(move.removeprefix("<"), name=f"p{number}", reason=f"why {number}")
        spec = promotion.spec.model_copy(update={"from_": world.channel.digest})
        world.promotions[promotion.name] = replace(promotion, spec=spec)
        assert world.finish(promotion.name).status.phase == "Promoted"
    return world.channel


@dataclass(frozen=True)
class Chosen:
    """A history, what is asked for, and the model that it means, or why it means none."""

    name: str
    moves: tuple[str, ...]
    target: str = ""
    error: str = ""
    to: str = ""
    steps: int = 1


CHOSEN = (
    Chosen("one back", ("a", "b", "c"), "b"),
    Chosen("two back", ("a", "b", "c"), "a", steps=2),
    Chosen("again after a rollback", ("a", "b", "c", "<b"), "a"),
    Chosen("after a promotion on a rollback", ("a", "b", "<a", "c"), "a"),
    Chosen("after going on by a rollback", ("a", "b", "<a", "<b"), "a"),
    Chosen("too many", ("a", "b"), steps=2, error="has 1 models to go back to, not 2"),
    Chosen("only one", ("a",), error="has 0 models"),
    Chosen("nothing", (), error="has 0 models"),
    Chosen("digest", ("a", "b", "c"), "a", to=make_digest("a")),
    Chosen("beginning of a digest", ("a", "b", "c"), "a", to=make_digest("a")[7:15]),
    Chosen("beginning with its kind", ("a", "b"), "a", to=make_digest("a")[:15]),
    Chosen("unknown digest", ("a", "b"), to="0000", error="no model whose digest begins with 0000"),
    Chosen("every digest", ("a", "b"), to="sha256:", error="2 models whose digest begins"),
)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_target_of_a_rollback(case: Chosen) -> None:
    status = channel_after(*case.moves).status
    if case.error:
        with pytest.raises(CommandError, match=case.error):
            choose(status, case.to, case.steps)
        return
    assert choose(status, case.to, case.steps).to == make_digest(case.target)


def test_history_is_a_table_with_holds_below() -> None:
    head, first, second, back, hold = lines(channel_after("a", "b", "<a"))
    assert head.split() == " ".join(HEADS).split()
    assert first.split()[1:4] == ["Promotion", "-", make_digest("a")[7:19]]
    assert second.index("Pass") == first.index("Pass") == head.index("VERDICT")
    assert back.endswith("why 2")
    assert hold.startswith("held since 20")
    assert hold.endswith("by ann, p2: why 2")


def test_history_says_that_it_is_cut() -> None:
    channel = channel_after("a", "b", "c")
    status = channel.status.model_copy(update={"history": channel.status.history[1:]})
    table = lines(replace(channel, status=status))
    assert table[-1] == "1 older moves are no longer kept (spec.historyLimit)"


@dataclass(frozen=True)
class Refusal:
    """A message of the API server, and the line that a user gets."""

    name: str
    message: str
    line: str
    code: int = 403


REFUSALS = (
    Refusal(
        "role",
        'modelpromotions.fulcrum.dev is forbidden: User "kim" cannot create resource '
        '"modelpromotions" in API group "fulcrum.dev" in the namespace "shop"',
        "user kim needs the verb create on modelpromotions in namespace shop",
    ),
    Refusal(
        "role for the whole cluster",
        'namespaces is forbidden: User "kim" cannot list resource "namespaces" in API group "" '
        "at the cluster scope",
        "user kim needs the verb list on namespaces",
    ),
    Refusal(
        "policy",
        'modelpromotions.fulcrum.dev "p" is forbidden: ValidatingAdmissionPolicy '
        "'fulcrum-promotions' with binding 'fulcrum-promotions' denied request: user bob needs "
        "the verb promote on modelchannels/production in namespace shop; an administrator can\n"
        "grant it",
        "user bob needs the verb promote on modelchannels/production in namespace shop; an "
        "administrator can grant it",
    ),
    Refusal(
        "schema",
        'ModelPromotion.fulcrum.dev "p" is invalid: spec: approval is given once',
        'patch mp p: ModelPromotion.fulcrum.dev "p" is invalid: spec: approval is given once',
        422,
    ),
)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusal_is_one_line_with_the_verb(case: Refusal) -> None:
    reason = "Forbidden" if case.code == 403 else "Invalid"
    answer = json.dumps(refusal(case.code, reason, case.message).body).encode()
    error = explain(error_from(case.code, answer, call="patch mp p"))
    assert str(error) == case.line
    assert error.failure_class == "infrastructure", "exit code 1"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_and_needs_no_cluster(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "--kubeconfig" in result.stdout
    assert "-n, --namespace" in result.stdout


def test_help_is_instant() -> None:
    """The client of the API server and pydantic take longer to import than a help may."""
    code = (
        "import sys, fulcrum_operator.cli.main\n"
        "slow = {'aiohttp', 'asyncio', 'kopf', 'kubernetes', 'pydantic', 'yaml'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_a_cluster_the_file_is_named(tmp_path: Path) -> None:
    words = ["history", "production", "--kubeconfig", str(tmp_path / "none")]
    result = CliRunner().invoke(app, words)
    assert str(tmp_path / "none") in str(result.exception)


def test_documents_in_the_guide_are_valid(tmp_path: Path) -> None:
    blocks = [part.split("```")[0] for part in DOCUMENT.read_text().split("```yaml\n")[1:]]
    ours = [block for block in blocks if "fulcrum.dev/v1alpha1" in block]
    assert len(ours) == 3
    for number, block in enumerate(ours):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert check_file(path) == []
