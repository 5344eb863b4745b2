"""Check promises of the two Containerfiles by reading them; nothing is built here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ("operator", "components")
LABELS = {"title", "description", "licenses", "version", "revision"}


@dataclass(frozen=True)
class Stage:
    """One stage: what it starts from, and its instructions as (name, rest)."""

    name: str
    source: str
    steps: tuple[tuple[str, str], ...]

    def of(self, instruction: str) -> list[str]:
        """Return the arguments of each `instruction`."""
        return [rest for name, rest in self.steps if name == instruction]


def stages(image: str) -> list[Stage]:
    """Return the stages of an image's Containerfile; the last one becomes the image."""
    text = (ROOT / image / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    steps = [tuple(line.split(maxsplit=1)) for line in lines if line]
    starts = [number for number, step in enumerate(steps) if step[0] == "FROM"]
    found = []
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        source, _, name = steps[start][1].partition(" AS ")
        found.append(Stage(name, source, tuple((s[0], s[1]) for s in steps[start + 1 : end])))
    return found


@pytest.mark.parametrize("image", IMAGES)
def test_image_starts_empty_and_runs_nothing(image: str) -> None:
    """So nothing that a stage removed is in a layer, and no layer depends on when it was made."""
    libraries, last = stages(image)[-2:]
    assert (libraries.name, libraries.source) == ("libraries", "scratch")
    assert last.source == "libraries"
    assert {name for name, _ in libraries.steps} == {"COPY"}
    assert {name for name, _ in last.steps} <= {"COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT"} | {
        *("CMD", "ARG", "LABEL")
    }


@pytest.mark.parametrize("image", IMAGES)
def test_user_is_a_number_that_is_not_root(image: str) -> None:
    """`runAsNonRoot` can only be checked by the node where the user is a number."""
    assert stages(image)[-1].of("USER") == ["65532:65532"]


@pytest.mark.parametrize("image", IMAGES)
def test_our_code_is_the_last_layer(image: str) -> None:
    libraries, last = stages(image)[-2:]
    assert libraries.of("COPY")[0] == "--from=system / /"
    assert last.of("COPY") == ["--from=code /opt/fulcrum /opt/fulcrum"]
    assert not [step for step in libraries.of("COPY") if "code" in step]


@pytest.mark.parametrize("image", IMAGES)
def test_commit_is_named_after_all_layers(image: str) -> None:
    """A build of another commit would otherwise run every step behind it again."""
    names = [name for name, _ in stages(image)[-1].steps]
    assert "ARG" not in names[: len(names) - names[::-1].index("COPY")]
    assert not [step for stage in stages(image)[:-1] for step in stage.of("ARG") if "VER" in step]


@pytest.mark.parametrize("image", IMAGES)
def test_labels(image: str) -> None:
    (label,) = stages(image)[-1].of("LABEL")
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", label)) == LABELS


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_comes_from_the_one_argument(image: str) -> None:
    """One argument names the base image, so one argument pins it by its digest."""
    known = {"${BASE}", "scratch"}
    for stage in stages(image):
        assert stage.source in known
        known.add(stage.name)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_fetched_is_pinned_by_a_hash(image: str) -> None:
    fetching = [
        step
        for stage in stages(image)
        for step in stage.of("RUN")
        if "type=secret,id=index" in step
    ]
    assert fetching
    for step in fetching:
        without_argument = step.replace('sh /images/packages.sh "${TORCH}"', "")
        for call in re.findall(r"/images/packages\.sh.*?(?:;|&&|$)", without_argument):
            assert re.search(r"--require-hashes -r /images/locks/\w+\.txt", call), call
    assert "--require-hashes -r /images/locks/tools.txt" in (ROOT / "images/tools.sh").read_text()


@pytest.mark.parametrize("image", IMAGES)
def test_steps_that_fetch_nothing_get_no_index(image: str) -> None:
    (code,) = [stage for stage in stages(image) if stage.name == "code"]
    assert code.of("RUN")
    assert not [step for step in code.of("RUN") if "secret" in step]
    assert "--offline" in (ROOT / "images/code.sh").read_text()


def test_both_images_share_what_is_below_the_packages() -> None:
    """The same steps on the same base make the same layer, which a node has once."""
    shared = [
        {stage.name: stage for stage in stages(image) if stage.name in ("tools", "system")}
        for image in IMAGES
    ]
    assert shared[0] == shared[1]
    assert len(shared[0]) == 2


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_let_through(image: str) -> None:
    """The context is closed; what a step copies must be in the list of what is let through."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if not line.startswith("#")) == "*"
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    for stage in stages(image):
        for step in stage.of("COPY"):
            sources = [] if step.startswith("--from") else step.split()[:-1]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert [rule for rule in allowed if _concerns(rule, source)], source


def _concerns(rule: str, source: str) -> bool:
    return Path(source).match(rule) or any(
        Path(base) == Path(other) or Path(other) in Path(base).parents
        for base, other in ((rule, source), (source, rule))
    )


def lock(group: str) -> dict[str, str]:
    """Return the entries of a lock file by the name of their package."""
    text = (ROOT / "images" / "locks" / f"{group}.txt").read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry for entry in entries if entry}


@pytest.mark.parametrize("group", ["tools", "operator", "cuda", "components"])
def test_locks_are_cut_from_the_one_lock(group: str) -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    assert lock(group)
    for entry in lock(group).values():
        assert entry in constraints
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("package", ["torch", "numpy", "onnx", "onnxruntime", "kfp", "kubernetes"])
def test_operator_has_none_of(package: str) -> None:
    assert package not in lock("operator")
    assert package in lock("components") | lock("cuda")


def test_nothing_needs_a_compiler_at_run_time() -> None:
    assert "triton" not in lock("components") | lock("cuda")


def test_layer_with_cuda_depends_on_nothing_else() -> None:
    """Any other package in its lock would rebuild 5 GB with each of its updates."""
    assert "torch" in lock("cuda")
    assert not set(lock("cuda")) & set(lock("components"))
    assert all(re.match(r"torch$|nvidia-|cuda-", name) for name in lock("cuda"))
