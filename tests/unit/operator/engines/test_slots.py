"""Runs start in the order of creation, and no free slot stays unused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fulcrum_operator.engines.slots import Slots

START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


def take(slots: Slots, number: int) -> bool:
    return slots.take(f"uid-{number}", START + timedelta(seconds=number), ("team", f"job-{number}"))


def test_the_oldest_that_waits_is_next() -> None:
    slots = Slots(1)
    assert take(slots, 3)
    assert not take(slots, 2)
    assert not take(slots, 1)
    assert slots.release("uid-3") == (("team", "job-1"),)
    assert not take(slots, 2)
    assert take(slots, 1)


def test_who_gives_up_its_turn_passes_it_on() -> None:
    slots = Slots(1)
    assert take(slots, 1)
    assert not take(slots, 2)
    assert not take(slots, 3)
    assert slots.release("uid-1") == (("team", "job-2"),)
    assert slots.release("uid-2") == (("team", "job-3"),)  # deleted or suspended meanwhile


def test_full_slots_admit_no_run() -> None:
    slots = Slots(1)
    assert take(slots, 1)
    assert not take(slots, 2)
    assert not take(slots, 3)
    assert slots.release("uid-2") == ()


def test_without_a_limit_all_may_start() -> None:
    slots = Slots()
    assert all(take(slots, number) for number in range(5))
    assert slots.release("uid-0") == ()


steps = st.lists(
    st.tuples(st.sampled_from(("arrive", "leave", "turn")), st.integers(0, 5)), max_size=60
)


@given(steps, st.integers(1, 3))
def test_no_slot_stays_free_while_a_run_waits(script: list[tuple[str, int]], limit: int) -> None:
    """A job that may start takes its turn some time later."""
    slots, holding, waiting, admitted = Slots(limit), set[int](), set[int](), list[int]()

    def have_turn(number: int) -> None:
        if take(slots, number):
            holding.add(number)
            waiting.discard(number)
        else:
            waiting.add(number)

    for what, number in script:
        match what:
            case "arrive":
                have_turn(number)
            case "leave":
                holding.discard(number)
                waiting.discard(number)
                admitted += [int(key[1][len("job-") :]) for key in slots.release(f"uid-{number}")]
            case "turn" if admitted and (first := admitted.pop(0)) in waiting:
                have_turn(first)
        assert len(holding) <= limit
    for number in admitted:
        if number in waiting:
            have_turn(number)
    assert not waiting or len(holding) == limit
