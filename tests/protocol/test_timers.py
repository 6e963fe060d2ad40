"""Deadlines: cheap to move, forgotten with their owner, and never a burden when there have been many."""

from protocol.timers import Timer, TimerOwner, Timers


class Owner(TimerOwner):
    def timer_fired(self, timer: Timer) -> None:
        raise AssertionError("the heap only says who is due")


def test_without_deadlines_nothing_is_due() -> None:
    timers = Timers()
    assert timers.deadline() is None
    assert timers.take_due(1e9) is None


def test_what_is_due_comes_earliest_first_and_once() -> None:
    timers, owner = Timers(), Owner()
    timers.set(owner, Timer.BODY, 2.0)
    timers.set(owner, Timer.HEAD, 1.0)
    assert timers.take_due(0.9) is None
    assert timers.take_due(2.0) == (owner, Timer.HEAD)
    assert timers.take_due(2.0) == (owner, Timer.BODY)
    assert timers.take_due(2.0) is None


def test_equal_deadlines_are_due_in_the_order_they_were_set() -> None:
    timers, owners = Timers(), [Owner() for _ in range(5)]
    for owner in owners:
        timers.set(owner, Timer.HEAD, 1.0)
    assert [timers.take_due(1.0) for _ in owners] == [(owner, Timer.HEAD) for owner in owners]


def test_a_deadline_can_be_moved_both_ways() -> None:
    timers, owner = Timers(), Owner()
    timers.set(owner, Timer.SILENCE, 10.0)
    timers.set(owner, Timer.SILENCE, 20.0)
    assert timers.deadline() == 20.0
    timers.set(owner, Timer.SILENCE, 5.0)
    assert timers.deadline() == 5.0
    timers.set(owner, Timer.SILENCE, 10.0)
    assert timers.take_due(9.0) is None
    assert timers.take_due(10.0) == (owner, Timer.SILENCE)
    assert timers.deadline() is None


def test_moving_a_deadline_later_costs_no_entry() -> None:
    timers, owner = Timers(), Owner()
    for at in range(1, 10_000):
        timers.set(owner, Timer.SILENCE, float(at))
    assert len(timers._heap) == 1


def test_clearing_what_is_not_set_is_harmless() -> None:
    timers, owner = Timers(), Owner()
    timers.clear(owner, Timer.HEAD)
    timers.forget(owner)
    assert timers.deadline() is None


def test_an_owner_that_is_gone_is_forgotten_with_all_its_deadlines() -> None:
    timers, gone, other = Timers(), Owner(), Owner()
    for timer in Timer:
        timers.set(gone, timer, 1.0)
    timers.set(other, Timer.HEAD, 3.0)
    timers.forget(gone)
    assert timers.take_due(2.0) is None
    assert timers.deadline() == 3.0


def test_ten_thousand_owners_that_are_gone_leave_next_to_nothing() -> None:
    timers, other = Timers(), Owner()
    timers.set(other, Timer.HEAD, 50.0)
    for _ in range(10_000):
        owner = Owner()
        timers.set(owner, Timer.SILENCE, 300.0)
        timers.forget(owner)
    assert len(timers._heap) <= 257
    assert timers.deadline() == 50.0
    assert timers.take_due(50.0) == (other, Timer.HEAD)
