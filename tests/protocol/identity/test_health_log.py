"""The log tells every change of health and how things stand in the end, but what comes and goes does not fill it."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.identity.cooldowns import Cause
from protocol.identity.health_log import MOST_SUBJECTS, QUIET_SECONDS, HealthLog
from protocol.identity.pool import Change

OUT = Change("a", Cause.WINDOW, out=True, seconds=3600.0, window="5h")
BACK = Change("a", Cause.WINDOW, out=False, window="5h")
OUT_LINE = "account a is out for 3600 s: usage window used up (5h)"
BACK_LINE = "account a is back, it was out: usage window used up (5h)"


def overdue(log: HealthLog, now: float) -> list[str]:
    return [line for _, line in log.overdue(now)]


def test_a_change_and_its_end_are_told_at_once() -> None:
    log = HealthLog()
    assert log.line(OUT, 0.0) == OUT_LINE
    assert log.line(BACK, 0.1) == BACK_LINE
    assert overdue(log, 1000.0) == []


def test_what_repeats_too_soon_is_told_when_it_is_time_with_how_much_was_left_out() -> None:
    log = HealthLog()
    log.line(OUT, 0.0)
    log.line(BACK, 1.0)
    assert [log.line(change, 2.0) for change in (OUT, BACK, OUT, BACK, OUT)] == [None] * 5
    assert overdue(log, 1.0 + QUIET_SECONDS - 0.1) == []
    assert overdue(log, 1.0 + QUIET_SECONDS) == [f"{OUT_LINE} (4 more of this since the last line)"]
    assert overdue(log, 1000.0) == []


def test_a_single_change_that_waited_is_told_as_it_is() -> None:
    log = HealthLog()
    log.line(OUT, 0.0)
    assert log.line(OUT, 5.0) is None
    assert overdue(log, 10.0) == [OUT_LINE]


def test_after_a_quiet_time_a_change_is_told_at_once_again() -> None:
    log = HealthLog()
    assert log.line(OUT, 0.0) is not None
    assert log.line(OUT, QUIET_SECONDS) is not None


def test_accounts_causes_windows_and_models_do_not_silence_each_other() -> None:
    log = HealthLog()
    changes = [
        OUT,
        Change("b", Cause.WINDOW, out=True, window="5h"),
        Change("a", Cause.OVERLOADED, out=True),
        Change("a", Cause.WINDOW, out=True, window="7d"),
        Change("a", Cause.WINDOW, out=True, window="5h", model="claude-opus-4-7"),
    ]
    assert all(log.line(change, 0.0) for change in changes)
    assert log.line(OUT, 0.5) is None


CHANGES = st.lists(st.tuples(st.sampled_from([OUT, BACK]), st.floats(0, 12)), max_size=60)


@given(history=CHANGES)
def test_the_last_line_tells_how_things_stand_and_no_more_than_two_lines_come_at_a_time(
    history: list[tuple[Change, float]],
) -> None:
    log, now, told = HealthLog(), 0.0, list[tuple[float, bool]]()
    for change, pause in history:
        now += pause
        told += [(now, held.out) for held, _ in log.overdue(now)]
        if log.line(change, now) is not None:
            told.append((now, change.out))
    told += [(now + QUIET_SECONDS, held.out) for held, _ in log.overdue(now + QUIET_SECONDS)]
    if history:
        assert told[-1][1] == history[-1][0].out
    for (first, _), (third, _) in zip(told, told[2:], strict=False):
        assert third - first >= QUIET_SECONDS - 1e-6


def test_what_it_remembers_is_bounded_though_models_have_names_that_others_choose() -> None:
    log = HealthLog()
    for number in range(5 * MOST_SUBJECTS):
        log.line(Change("a", Cause.WINDOW, out=True, window="7d_x", model=f"model-{number}"), number * 0.1)
    assert len(log._stories) <= MOST_SUBJECTS
