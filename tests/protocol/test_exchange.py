"""One exchange between a client and an upstream that are both in the test's hands: its lifecycle, and its faults."""

from collections.abc import Callable, Mapping
from itertools import product

import pytest

from protocol.effects import (
    Answer,
    CheckCredentials,
    Failed,
    FailureKind,
    Fetch,
    ReadBody,
    ReadResponse,
    Reply,
    Script,
    UpstreamRequest,
    read_body,
)
from protocol.errors import LocalError, Refusal
from protocol.event_relay import EventStreamPassthrough
from protocol.exchange import EARLY_LIMIT, ENDS, LIFECYCLE, Exchange, Phase, Step
from protocol.relays import Passthrough, Relay
from protocol.request_body import RequestBody
from protocol.timers import Timer
from protocol.values import RequestHead
from tests.support.play import ASKED, ORIGIN, Play, head
from tests.support.requests import EVENT


def relay(body: Relay | None = None) -> Script:
    yield ASKED
    yield Reply(head(), body or Passthrough(), None)


def forever() -> Script:
    while True:
        yield ASKED


# --- the lifecycle ----------------------------------------------------------------------------------------------------


def asking() -> Play:
    return Play(relay())


def relaying() -> Play:
    play = asking()
    play.exchange.upstream_head(head())
    return play


def done() -> Play:
    play = relaying()
    play.exchange.upstream_end()
    return play


def cut() -> Play:
    play = relaying()
    play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
    return play


def left() -> Play:
    play = relaying()
    play.exchange.client_left()
    return play


WAYS: Mapping[Phase, Callable[[], Play]] = {
    Phase.ASKING: asking,
    Phase.RELAYING: relaying,
    Phase.DONE: done,
    Phase.CUT: cut,
    Phase.LEFT: left,
}


@pytest.mark.parametrize(("phase", "step"), list(product(Phase, Step)))
def test_every_step_in_every_phase_follows_the_table(phase: Phase, step: Step) -> None:
    exchange = WAYS[phase]().exchange
    assert exchange.phase is phase
    if (phase, step) in LIFECYCLE:
        exchange._move(step)
        assert exchange.phase is LIFECYCLE[phase, step]
    else:
        with pytest.raises(LocalError):
            exchange._move(step)
        assert exchange.phase is phase


def test_ends_are_ends_and_nothing_else_is() -> None:
    assert {phase for phase, _ in LIFECYCLE} == set(Phase) - ENDS
    assert set(LIFECYCLE.values()) == {Phase.RELAYING, *ENDS}


def test_what_has_not_begun_cannot_be_broken_off() -> None:
    """Whoever has been sent nothing gets a whole answer, if only an error."""
    play = asking()
    with pytest.raises(LocalError):
        play.exchange._move(Step.BROKEN)
    play.exchange.refuse(Refusal(503, "over"))
    assert (play.client.status, play.client.ended, play.client.cuts) == (503, 1, [])


@pytest.mark.parametrize("phase", Phase)
def test_whatever_happens_next_each_exchange_ends_once(phase: Phase) -> None:
    play = WAYS[phase]()
    exchange = play.exchange
    exchange.refuse(Refusal(503, "over"))
    ended_in = exchange.phase
    exchange.refuse(Refusal(503, "over"))
    exchange.client_left()
    exchange.client_full(True)
    exchange.request_body(b"late")
    exchange.request_end()
    exchange.credentials_checked()
    exchange.timer_fired(Timer.COMMENT)
    play.assert_ended_once(ended_in)
    assert play.client.over == (phase is not Phase.LEFT)
    assert play.house.timers.deadline() is None
    if phase in (Phase.ASKING, Phase.RELAYING):
        assert play.upstream.cancelled


# --- faults in a script -----------------------------------------------------------------------------------------------


def faulty_at_once() -> Script:
    yield from ()
    raise KeyError("a fault")


def faulty_after_head() -> Script:
    yield ASKED
    raise KeyError("a fault")


def faulty_after_check() -> Script:
    yield CheckCredentials("primary")
    raise KeyError("a fault")


def silent() -> Script:
    yield ASKED


@pytest.mark.parametrize(
    ("script", "step"),
    [
        (faulty_after_head, lambda play: play.exchange.upstream_head(head())),
        (faulty_after_head, lambda play: play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))),
        (faulty_after_check, lambda play: play.exchange.credentials_checked()),
        (silent, lambda play: play.exchange.upstream_head(head())),
    ],
    ids=["head", "failure", "check", "no answer"],
)
def test_a_script_that_fails_is_a_500_and_known_to_the_gateway(
    script: Callable[[], Script], step: Callable[[Play], None]
) -> None:
    play = Play(script())
    with pytest.raises((KeyError, LocalError)):
        step(play)
    assert play.client.status == 500
    assert b"internal error" in play.client.body
    play.assert_ended_once(Phase.DONE)


def test_a_script_that_fails_at_once_is_a_500_too() -> None:
    play = Play(relay())
    exchange = Exchange(play.call, faulty_at_once(), RequestBody(0, 0, 0), play.client, play.house, None)
    with pytest.raises(KeyError):
        exchange.start()
    assert play.client.status == 500


def test_a_body_before_a_head_is_a_fault_of_ours() -> None:
    with pytest.raises(LocalError):
        Play(relay()).exchange.upstream_body(b"x")


def test_a_connection_that_nobody_opened_is_a_fault_of_ours() -> None:
    with pytest.raises(LocalError):
        done().exchange.upstream_ready()


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_cancels_what_was_asked() -> None:
    def script() -> Script:
        yield ASKED
        yield Answer(head(), b"enough")

    play = Play(script())
    play.exchange.upstream_head(head())
    assert play.upstream.cancelled
    assert (play.client.status, play.client.body) == (200, b"enough")
    play.assert_ended_once(Phase.DONE)


def test_a_check_that_is_not_waited_for_is_made_all_the_same() -> None:
    def script() -> Script:
        yield CheckCredentials("primary", wait=False)
        yield ASKED

    play = Play(script())
    assert play.house.checks == [(CheckCredentials("primary", wait=False), None)]
    assert len(play.house.channels) == 1


def test_a_check_that_is_waited_for_holds_the_request() -> None:
    def script() -> Script:
        yield CheckCredentials("primary")
        yield ASKED

    play = Play(script())
    assert play.house.checks == [(CheckCredentials("primary"), play.exchange)]
    assert play.house.channels == []
    play.exchange.credentials_checked()
    assert len(play.house.channels) == 1


def test_another_fetch_cancels_the_last_one() -> None:
    play = Play(forever())
    first = play.upstream
    play.exchange.upstream_head(head(429))
    assert first.cancelled
    assert len(play.house.channels) == 2


def waits_for_files() -> Script:
    yield ASKED
    yield CheckCredentials("primary")
    yield Reply(head(401), EventStreamPassthrough(), None)


def test_what_comes_while_the_script_thinks_follows_the_head() -> None:
    play = Play(waits_for_files())
    play.exchange.upstream_head(head(401))
    play.exchange.upstream_body(b"data: 1\n")
    play.exchange.upstream_body(b"\n")
    play.exchange.credentials_checked()
    assert (play.client.status, play.client.body) == (401, b"data: 1\n\n")
    play.exchange.upstream_end()
    play.assert_ended_once(Phase.DONE)


def test_a_response_that_ends_while_the_script_thinks_is_whole() -> None:
    play = Play(waits_for_files())
    play.exchange.upstream_head(head(401))
    play.exchange.upstream_body(b"all")
    play.exchange.upstream_end()
    play.exchange.credentials_checked()
    assert (play.client.body, play.client.ended) == (b"all", 1)
    play.assert_ended_once(Phase.DONE)


def test_a_response_that_breaks_while_the_script_thinks_is_a_502() -> None:
    play = Play(waits_for_files())
    play.exchange.upstream_head(head(401))
    play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
    play.exchange.credentials_checked()
    assert play.client.status == 502
    play.assert_ended_once(Phase.DONE)


def test_a_response_that_breaks_is_nothing_to_a_script_that_has_gone_on_to_another() -> None:
    def script() -> Script:
        yield ASKED
        yield CheckCredentials("primary")
        yield ASKED
        yield Reply(head(), Passthrough(), None)

    play = Play(script())
    play.exchange.upstream_head(head(429))
    play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
    assert not play.client.over
    play.exchange.credentials_checked()
    play.exchange.upstream_head(head())
    play.exchange.upstream_end()
    assert play.client.status == 200
    play.assert_ended_once(Phase.DONE)


@pytest.mark.parametrize("early", [True, False])
def test_a_response_that_breaks_before_it_is_gathered_is_a_502(early: bool) -> None:
    def script() -> Script:
        yield ASKED
        yield CheckCredentials("primary")
        yield ReadResponse(10)

    play = Play(script())
    play.exchange.upstream_head(head())
    if not early:
        play.exchange.credentials_checked()
    play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
    if early:
        assert not play.client.over
        play.exchange.credentials_checked()
    assert play.client.status == 502
    play.assert_ended_once(Phase.DONE)


def test_an_upstream_is_held_when_much_comes_while_the_script_thinks() -> None:
    play = Play(waits_for_files())
    play.exchange.upstream_head(head(401))
    play.exchange.upstream_body(b"x" * EARLY_LIMIT)
    assert not play.upstream.held()
    play.exchange.upstream_body(b"x")
    assert play.upstream.held()
    play.exchange.credentials_checked()
    assert not play.upstream.held()


class Fussy(Relay):
    """Refuses what it does not like: at once, or by an error of its own inside the body."""

    def __init__(self, *, in_band: bool) -> None:
        self._in_band = in_band
        self.failed = False

    def feed(self, data: bytes) -> bytes:
        if b"bad" not in data:
            return data
        if not self._in_band:
            raise Refusal(502, "bad")
        self.failed = True
        return b"error: bad"

    def finish(self) -> bytes:
        self.failed = self.failed or self._in_band
        return b"unfinished" if self._in_band else b"the end"

    def abort(self, error: Refusal) -> bytes | None:
        return b"error: " + error.message.encode()


@pytest.mark.parametrize(("in_band", "cut", "body"), [(False, b"error: bad", b"good"), (True, None, b"gooderror: bad")])
def test_a_relay_that_refuses_cuts_the_answer(in_band: bool, cut: bytes | None, body: bytes) -> None:
    play = Play(relay(Fussy(in_band=in_band)))
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(b"good")
    play.exchange.upstream_body(b"bad")
    assert play.client.body == body
    assert play.client.cuts == [cut]
    assert play.upstream.cancelled
    play.assert_ended_once(Phase.CUT)


@pytest.mark.parametrize("in_band", [False, True])
def test_a_relay_that_refuses_what_came_early_is_not_asked_again(in_band: bool) -> None:
    def script() -> Script:
        yield ASKED
        yield CheckCredentials("primary")
        yield Reply(head(), Fussy(in_band=in_band), None)

    play = Play(script())
    play.exchange.upstream_head(head())
    for data in (b"bad", b"worse", b"bad"):
        play.exchange.upstream_body(data)
    play.exchange.upstream_end()
    play.exchange.credentials_checked()
    assert len(play.client.cuts) == 1
    play.assert_ended_once(Phase.CUT)


@pytest.mark.parametrize(("in_band", "phase"), [(False, Phase.DONE), (True, Phase.CUT)])
def test_a_relay_has_the_last_word_at_the_end(in_band: bool, phase: Phase) -> None:
    play = Play(relay(Fussy(in_band=in_band)))
    play.exchange.upstream_head(head())
    play.exchange.upstream_end()
    if in_band:
        assert play.client.cuts == [b"unfinished"]
    else:
        assert (play.client.body, play.client.ended) == (b"the end", 1)
    play.assert_ended_once(phase)


class Told(Passthrough):
    """A body whose format says that it is complete, before its framing does."""

    @property
    def complete(self) -> bool:
        return True


def test_a_body_that_was_told_to_its_end_is_complete_whatever_follows() -> None:
    play = Play(relay(Told()))
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(b"all of it")
    play.exchange.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
    assert (play.client.body, play.client.ended, play.client.cuts) == (b"all of it", 1, [])
    play.assert_ended_once(Phase.DONE)


# --- bodies that are read whole ---------------------------------------------------------------------------------------


def echoes() -> Script:
    outcome = yield ReadBody(10)
    yield Answer(head(), getattr(outcome, "body", b""))


def test_a_script_gets_the_whole_request_body() -> None:
    play = Play(echoes(), None)
    assert play.client.wanted
    play.exchange.request_body(b"12345")
    play.exchange.request_body(b"67890")
    assert play.client.status is None
    play.exchange.request_end()
    assert play.client.body == b"1234567890"


def test_a_body_that_is_whole_already_is_not_waited_for() -> None:
    assert Play(echoes()).client.body == b""


def test_a_body_longer_than_a_script_takes_is_a_413() -> None:
    announced = Play(echoes(), 11)
    assert announced.client.status == 413
    assert not announced.client.wanted
    grown = Play(echoes(), None)
    grown.exchange.request_body(b"x" * 11)
    assert grown.client.status == 413


def test_a_client_that_was_held_goes_on_when_a_script_wants_the_whole_body() -> None:
    def script() -> Script:
        yield CheckCredentials("primary")
        yield from read_body(1 << 20)
        yield Answer(head(), b"enough")

    play = Play(script(), None, replay=100_000)
    play.exchange.request_body(b"x" * 100_001)
    assert play.client.held()
    play.exchange.credentials_checked()
    assert not play.client.held()
    play.exchange.request_end()
    assert play.client.body == b"enough"


def gathers() -> Script:
    yield ASKED
    outcome = yield ReadResponse(10)
    yield Answer(head(), getattr(outcome, "body", b""))


def test_a_script_gets_the_whole_response_body() -> None:
    play = Play(gathers())
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(b"12345")
    play.exchange.upstream_body(b"67890")
    assert play.client.status is None
    play.exchange.upstream_end()
    assert play.client.body == b"1234567890"
    play.assert_ended_once(Phase.DONE)


def test_a_response_that_has_come_already_is_gathered_at_once() -> None:
    def script() -> Script:
        yield ASKED
        yield CheckCredentials("primary")
        outcome = yield ReadResponse(10)
        yield Answer(head(), getattr(outcome, "body", b""))

    play = Play(script())
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(b"12345")
    play.exchange.upstream_end()
    play.exchange.credentials_checked()
    assert play.client.body == b"12345"


def test_a_response_longer_than_a_script_takes_is_a_502() -> None:
    play = Play(gathers())
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(b"x" * 11)
    assert play.client.status == 502
    assert play.upstream.cancelled


# --- the request body on its way --------------------------------------------------------------------------------------


def test_a_body_goes_on_as_it_comes_once_there_is_a_connection() -> None:
    play = Play(relay(), None)
    play.exchange.request_body(b"early ")
    assert play.upstream.sent == b""
    play.exchange.upstream_ready()
    assert play.upstream.sent == b"early "
    play.exchange.request_body(b"late")
    play.exchange.request_end()
    assert play.upstream.sent == b"early late"
    assert play.upstream.whole


def test_a_body_made_by_the_script_goes_out_whole() -> None:
    def script() -> Script:
        yield Fetch(UpstreamRequest(ORIGIN, RequestHead(b"POST", b"/", []), b"made here"))
        yield Reply(head(), Passthrough(), None)

    play = Play(script())
    play.exchange.upstream_ready()
    assert play.upstream.sent == b"made here"
    assert play.upstream.whole


def test_a_body_that_waits_for_a_connection_holds_the_client_beyond_its_limit() -> None:
    play = Play(relay(), None, replay=100_000)
    play.exchange.request_body(b"x" * 100_000)
    assert not play.client.held()
    play.exchange.request_body(b"x")
    assert play.client.held()
    play.exchange.upstream_ready()
    assert not play.client.held()


def test_a_body_beyond_the_limit_is_a_413() -> None:
    play = Play(relay(), None, limit=10)
    play.exchange.request_body(b"x" * 11)
    assert play.client.status == 413


def test_a_full_upstream_holds_the_client() -> None:
    play = Play(relay(), None)
    play.exchange.upstream_full(True)
    assert play.client.held()


def test_a_full_client_holds_the_upstream_only_once_it_is_answered_from_there() -> None:
    play = Play(relay())
    play.exchange.client_full(True)
    assert not play.upstream.held()
    play.exchange.upstream_head(head())
    assert play.upstream.held()
    play.exchange.client_full(False)
    assert not play.upstream.held()


# --- keep-alive comments ----------------------------------------------------------------------------------------------


def test_a_pause_between_events_is_filled_with_comments() -> None:
    play = Play(relay(EventStreamPassthrough()))
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(EVENT)
    for pause in range(1, 4):
        play.house.now += 15
        play.exchange.timer_fired(Timer.COMMENT)
        assert play.client.body == EVENT + b": keep-alive\n\n" * pause
    assert play.exchange.sent == len(play.client.body)


def test_no_comment_while_bytes_come() -> None:
    play = Play(relay(EventStreamPassthrough()))
    play.exchange.upstream_head(head())
    play.house.now += 10
    play.exchange.upstream_body(EVENT)
    play.house.now += 5
    play.exchange.timer_fired(Timer.COMMENT)
    assert play.client.body == EVENT
    assert play.house.timers.deadline() == play.house.now + 10


def test_no_comment_inside_an_event() -> None:
    play = Play(relay(EventStreamPassthrough()))
    play.exchange.upstream_head(head())
    play.exchange.upstream_body(EVENT[:-1])
    play.house.now += 15
    play.exchange.timer_fired(Timer.COMMENT)
    assert play.client.body == EVENT[:-1]
    assert play.house.timers.deadline() == play.house.now + 15


def test_no_comment_in_a_body_that_is_no_event_stream() -> None:
    play = Play(relay(Passthrough()))
    play.exchange.upstream_head(head())
    assert play.house.timers.deadline() is None
