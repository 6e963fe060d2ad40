"""A script looks at the request body before it asks: whole, or not at all, and the body can still be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.effects import Answer, BodyPeeked, CheckCredentials, PeekBody, Script
from protocol.exchange import Phase
from tests.support.play import ASKED, Play, head
from tests.support.splits import cut_points, split


class Peeker:
    """A script that peeks at most at ``limit`` bytes, then asks; ``seen`` is what it saw."""

    def __init__(self, limit: int = 10) -> None:
        self.limit = limit
        self.seen: list[object] = []

    def script(self) -> Script:
        self.seen.append((yield PeekBody(self.limit)))
        yield ASKED
        yield Answer(head(), b"done")


def peeking(length: int | None = None, limit: int = 10, *, replay: int = 1 << 20) -> tuple[Play, Peeker]:
    peeker = Peeker(limit)
    return Play(peeker.script(), length, replay=replay), peeker


def test_a_script_sees_the_whole_body_and_it_is_sent_all_the_same() -> None:
    play, peeker = peeking()
    assert play.client.wanted, "a client that waits for 100 Continue has to go on"
    play.exchange.request_body(b"12345")
    play.exchange.request_body(b"67890")
    assert (peeker.seen, play.house.channels) == ([], [])
    play.house.now = 107.0
    play.exchange.request_end()
    assert peeker.seen == [BodyPeeked(b"1234567890", 107.0)]
    play.exchange.upstream_ready()
    assert (play.upstream.sent, play.upstream.whole) == (b"1234567890", True)


def test_a_body_that_is_whole_already_is_not_waited_for() -> None:
    play, peeker = peeking(0)
    assert peeker.seen == [BodyPeeked(b"", 100.0)]
    assert len(play.house.channels) == 1


def test_a_body_that_is_announced_as_too_long_is_not_waited_for_and_goes_on_as_it_comes() -> None:
    play, peeker = peeking(11)
    assert peeker.seen == [BodyPeeked(None, 100.0)]
    play.exchange.request_body(b"12345")
    play.exchange.upstream_ready()
    play.exchange.request_body(b"678901")
    play.exchange.request_end()
    assert (play.upstream.sent, play.upstream.whole) == (b"12345678901", True)


def test_a_body_that_turns_out_too_long_is_not_shown_and_goes_on_from_its_first_byte() -> None:
    play, peeker = peeking()
    play.exchange.request_body(b"x" * 10)
    assert peeker.seen == []
    play.exchange.request_body(b"y")
    assert peeker.seen == [BodyPeeked(None, 100.0)]
    play.exchange.request_body(b"z")
    play.exchange.upstream_ready()
    play.exchange.request_end()
    assert (play.upstream.sent, play.upstream.whole) == (b"x" * 10 + b"yz", True)


@given(body=st.binary(max_size=30), cuts=cut_points(), limit=st.integers(0, 30))
def test_however_a_body_arrives_it_is_shown_whole_or_not_at_all_and_sent_whole(
    body: bytes, cuts: list[int], limit: int
) -> None:
    play, peeker = peeking(limit=limit)
    for data in split(body, cuts):
        play.exchange.request_body(data)
    play.exchange.request_end()
    assert peeker.seen == [BodyPeeked(body if len(body) <= limit else None, 100.0)]
    play.exchange.upstream_ready()
    assert (play.upstream.sent, play.upstream.whole) == (body, True)


def test_a_client_that_was_held_goes_on_when_a_script_wants_to_see_the_body() -> None:
    def script() -> Script:
        yield CheckCredentials("primary")
        yield PeekBody(1 << 20)
        yield Answer(head(), b"enough")

    play = Play(script(), None, replay=100_000)
    play.exchange.request_body(b"x" * 100_001)
    assert play.client.held()
    play.exchange.credentials_checked()
    assert not play.client.held()
    play.exchange.request_body(b"x" * 100_000)
    assert not play.client.held()
    play.exchange.request_end()
    assert play.client.body == b"enough"


def test_a_body_beyond_the_limit_of_all_bodies_is_a_413_while_it_is_looked_at() -> None:
    peeker = Peeker(limit=1 << 20)
    play = Play(peeker.script(), None, limit=10)
    play.exchange.request_body(b"x" * 11)
    assert (play.client.status, peeker.seen) == (413, [])
    play.exchange.request_end()
    play.assert_ended_once(Phase.DONE)


@pytest.mark.parametrize("received", [b"", b"12345"])
def test_a_client_that_leaves_while_its_body_is_looked_at_leaves_nothing(received: bytes) -> None:
    play, peeker = peeking()
    play.exchange.request_body(received)
    play.exchange.client_left()
    play.exchange.request_body(b"more")
    play.exchange.request_end()
    assert (peeker.seen, play.house.channels) == ([], [])
    play.assert_ended_once(Phase.LEFT)


def test_a_body_that_was_seen_can_be_sent_twice() -> None:
    def script() -> Script:
        yield PeekBody(10)
        yield ASKED
        yield ASKED

    play = Play(script(), 5)
    play.exchange.request_body(b"12345")
    play.exchange.request_end()
    play.exchange.upstream_ready()
    play.exchange.upstream_head(head(429))
    play.exchange.upstream_ready()
    assert [channel.sent for channel in play.house.channels] == [b"12345"] * 2
