"""Places at an engine are given in the order of creation, and none is given twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fulcrum_operator.slots import Slots

START = datetime(2026, 11, 25, tzinfo=UTC)


def take(slots: Slots, number: int) -> bool:
    """Let the job that was created as `number` ask for a place."""
    return slots.take(f"uid-{number}", START + timedelta(seconds=number), ("ns", f"job-{number}"))


def test_engine_that_queues_by_itself_has_room_for_all() -> None:
    slots = Slots(None)
    assert all(take(slots, number) for number in range(100))


def test_places_go_to_the_oldest() -> None:
    slots = Slots(1)
    assert take(slots, 5)
    assert not take(slots, 3)
    assert not take(slots, 1)
    assert slots.release("uid-5") == ("ns", "job-1")
    assert not take(slots, 3)
    assert take(slots, 1)


def test_holder_keeps_its_place() -> None:
    slots = Slots(1)
    assert take(slots, 1)
    assert take(slots, 1)
    assert not take(slots, 0)


def test_place_of_a_run_that_another_leader_started_is_taken() -> None:
    slots = Slots(1)
    slots.hold("uid-7")
    assert not take(slots, 1)


def test_one_that_waited_and_is_gone_blocks_nobody() -> None:
    slots = Slots(1)
    slots.hold("uid-0")
    assert not take(slots, 1)
    assert not take(slots, 2)
    assert slots.release("uid-1") is None
    assert slots.release("uid-0") == ("ns", "job-2")
    assert take(slots, 2)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=80),
)
def test_never_more_holders_than_places(limit: int, script: list[tuple[bool, int]]) -> None:
    slots = Slots(limit)
    held: set[int] = set()
    for asks, number in script:
        if asks and take(slots, number):
            held.add(number)
        elif not asks:
            slots.release(f"uid-{number}")
            held.discard(number)
        assert len(held) <= limit
