"""The heap of deadlines against a model that simply looks through all of them."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.timers import Timer, TimerOwner, Timers


class Owner(TimerOwner):
    """Somebody with deadlines, known by a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def timer_fired(self, timer: Timer) -> None:
        raise AssertionError("the heap only says who is due")


OWNERS = [Owner(number) for number in range(40)]
TIMERS = [Timer.HEAD, Timer.SILENCE, Timer.COMMENT]

WHO = st.integers(0, 39)
WHAT = st.integers(0, 2)
AFTER = st.integers(0, 50).map(float)
STEPS = st.one_of(
    st.tuples(st.just("set"), WHO, WHAT, AFTER),
    st.tuples(st.just("set"), st.integers(0, 1), st.just(0), AFTER),
    st.tuples(st.just("clear"), WHO, WHAT, AFTER),
    st.tuples(st.just("forget"), WHO, WHAT, AFTER),
    st.tuples(st.just("pass"), WHO, WHAT, st.integers(0, 20).map(float)),
    st.tuples(st.just("crowd"), WHO, WHAT, AFTER),
    st.tuples(st.just("disperse"), WHO, WHAT, AFTER),
)


@given(steps=st.lists(STEPS, max_size=60))
def test_the_heap_is_due_exactly_when_a_plain_table_is(steps: list[tuple[str, int, int, float]]) -> None:
    timers, model, now = Timers(), dict[tuple[TimerOwner, Timer], float](), 0.0
    crowd = [Owner(number) for number in range(100)]
    for step, who, what, after in steps:
        owner, timer = OWNERS[who], TIMERS[what]
        match step:
            case "set":
                timers.set(owner, timer, now + after)
                model[owner, timer] = now + after
            case "clear":
                timers.clear(owner, timer)
                model.pop((owner, timer), None)
            case "forget":
                timers.forget(owner)
                model = {key: at for key, at in model.items() if key[0] is not owner}
            case "crowd":
                for number, one in enumerate(crowd):
                    for kind in TIMERS:
                        timers.set(one, kind, now + after + number)
                        model[one, kind] = now + after + number
            case "disperse":
                for one in crowd:
                    timers.forget(one)
                model = {key: at for key, at in model.items() if key[0] not in crowd}
            case _:
                now += after
        expected = sorted(at for at in model.values() if at <= now)
        due: list[float] = []
        while (taken := timers.take_due(now)) is not None:
            due.append(model.pop(taken))
        assert due == expected
        assert timers.deadline() == min(model.values(), default=None)
