"""The path of every chunk stays short: the core makes no more calls than the benchmarks' baseline allows."""

import pytest

from benchmarks import traffic
from benchmarks.chunk import BASELINE, count_blocks, count_calls, current_counts, read_baseline
from benchmarks.core import EVENT, Core, relayed
from protocol.commands import Write


@pytest.fixture(scope="module")
def counts() -> dict[str, float]:
    return current_counts()


@pytest.mark.parametrize("name", read_baseline())
def test_the_core_makes_no_more_calls_than_the_baseline(name: str, counts: dict[str, float]) -> None:
    reason = f"make it cheaper, or explain in the commit why {BASELINE.name} has to change"
    assert counts[name] <= read_baseline()[name], reason


def test_each_event_costs_the_same_number_of_calls() -> None:
    core = Core()
    core.open_stream()
    assert count_calls(core.event).protocol.is_integer()


def test_a_relayed_event_is_one_write_of_the_same_bytes() -> None:
    core = Core()
    core.open_stream()
    assert core.event() == [Write(core.client, EVENT)]


def test_a_relayed_event_leaves_nothing_behind_in_memory() -> None:
    core = Core()
    core.open_stream()
    assert count_blocks(core.event).left == pytest.approx(0, abs=0.05)


def test_a_finished_request_leaves_nothing_behind_in_memory() -> None:
    assert count_blocks(Core().request).left == pytest.approx(0, abs=0.05)


def test_the_measured_request_is_answered_whole() -> None:
    core = Core()
    assert relayed(core.request()).endswith(traffic.MESSAGE)
