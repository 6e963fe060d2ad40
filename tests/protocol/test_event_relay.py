"""A relayed event stream is byte exact, and an error added to it is always seen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.event_relay import EventStreamPassthrough
from tests.support.anthropic_streams import Story, stories
from tests.support.grammar import End, check_anthropic, read_sse
from tests.support.splits import cut_points, split


@given(story=stories(), cuts=cut_points())
def test_every_byte_passes_as_it_came(story: Story, cuts: list[int]) -> None:
    relay = EventStreamPassthrough()
    assert [relay.feed(read) for read in split(story.stream, cuts)] == split(story.stream, cuts)
    assert relay.finish() == b""


@given(story=stories(), at=st.integers(0, 1 << 16))
def test_a_cut_becomes_an_error_event(story: Story, at: int) -> None:
    relay = EventStreamPassthrough()
    sent = relay.feed(story.stream[: at % len(story.stream)])
    sent += relay.abort(Refusal(502, "the upstream broke off")) or b""
    event, data = read_sse(sent)[-1]
    assert event == "error"
    assert json.loads(data.splitlines()[-1])["error"] == {"type": "api_error", "message": "the upstream broke off"}


def test_an_error_after_a_whole_event_is_a_legal_stream() -> None:
    relay = EventStreamPassthrough()
    ping = relay.feed(b'event: ping\ndata: {"type":"ping"}\n\n')
    assert check_anthropic(ping + (relay.abort(Refusal(504, "too slow")) or b"")) is End.FAILED


@pytest.mark.parametrize(
    ("sent", "told"),
    [(b"", b"!"), (b"data: 1\n\n", b"!"), (b"data: 1\r\n\r\n", b"!"), (b"data: 1\n", None), (b"da", None)],
)
def test_an_error_that_could_not_be_read_apart_from_a_torn_event_is_not_added(sent: bytes, told: bytes | None) -> None:
    relay = EventStreamPassthrough(lambda refusal: b"!", joined=False)
    relay.feed(sent)
    assert relay.abort(Refusal(502, "the upstream broke off")) == told


@pytest.mark.parametrize(
    ("sent", "comment"),
    [(b"", b": keep-alive\n\n"), (b"data: 1\n\n", b": keep-alive\n\n"), (b"data: 1\n", None), (b"da", None)],
)
def test_a_keep_alive_goes_only_between_events(sent: bytes, comment: bytes | None) -> None:
    relay = EventStreamPassthrough()
    relay.feed(sent)
    assert relay.comment() == comment
