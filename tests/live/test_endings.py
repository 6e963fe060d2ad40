"""Streams that do not end well, as the current SDK sees them: never as a complete message."""

import time

import anthropic
import pytest

from cli.practice import Ending, PracticeUpstream
from tests.live.asks import ask
from tests.support.practice import last_request

CUTS = [
    "/cut 1",
    "/cut 5",
    "/cut 5 reset-cut=true",
    "/split 40 cut=1",
    "/split 40 cut=30",
    "/split 7 cut=50 reset-cut=true",
]


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_stream_is_an_error_and_never_a_message(client: anthropic.Anthropic, cut: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError, match="lost before the answer was complete") as failed,
        client.messages.stream(**ask(cut)) as stream,
    ):
        stream.get_final_message()
    assert failed.value.type == (None if "split" in cut else "api_error"), "a torn event cannot be taken back"


@pytest.mark.parametrize("cut", CUTS)
def test_what_came_before_the_cut_is_not_lost(client: anthropic.Anthropic, cut: str) -> None:
    kinds: list[str] = []
    with (
        client.messages.create(**ask(cut), stream=True) as stream,
        pytest.raises(anthropic.APIStatusError, match="lost before the answer was complete"),
    ):
        kinds.extend(event.type for event in stream)
    assert "message_stop" not in kinds
    if cut == "/cut 5":
        assert kinds == ["message_start", "content_block_start", *["content_block_delta"] * 2]


@pytest.mark.parametrize("cut", ["/cut 50", "/cut 50 reset-cut=true"])
def test_a_whole_answer_that_is_cut_is_a_connection_error(client: anthropic.Anthropic, cut: str) -> None:
    with pytest.raises(anthropic.APIConnectionError) as failed:
        client.messages.create(**ask(cut))
    assert not isinstance(failed.value, anthropic.APITimeoutError)


@pytest.mark.parametrize("drop", ["/drop", "/drop always reset-cut=true"])
def test_no_answer_at_all_is_a_502(client: anthropic.Anthropic, drop: str) -> None:
    with pytest.raises(anthropic.InternalServerError, match="upstream") as failed:
        client.messages.create(**ask(drop))
    assert failed.value.status_code == 502


def test_an_error_event_is_the_providers(client: anthropic.Anthropic) -> None:
    kinds: list[str] = []
    with (
        client.messages.create(**ask("/error-event overloaded_error after=3 message=Too much"), stream=True) as stream,
        pytest.raises(anthropic.APIStatusError) as failed,
    ):
        kinds.extend(event.type for event in stream)
    assert kinds == ["message_start", "content_block_start"]
    assert (failed.value.type, failed.value.api_message) == ("overloaded_error", "Too much")


def test_a_client_that_leaves_a_stream_cancels_it_at_once(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    with client.messages.stream(**ask("/size 10000\n/slow 5")) as stream:
        for _, _ in zip(range(5), stream.text_stream, strict=False):
            pass
        assert upstream.requests[-1].ending is None
    left = time.monotonic()
    record = last_request(upstream, lambda seen: seen.ending is not None)
    assert record.ending is Ending.CLIENT_LEFT
    assert time.monotonic() - left < 1
    assert record.writes < 1000


def test_a_client_that_loses_patience_before_the_answer_cancels_the_request(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**ask("/wait 60000"), timeout=0.1)
    assert last_request(upstream, lambda seen: seen.ending is not None).ending is Ending.CLIENT_LEFT


def test_a_client_that_left_may_come_back(upstream: PracticeUpstream, client: anthropic.Anthropic) -> None:
    for _ in range(5):
        with client.messages.stream(**ask("/size 1000\n/slow 1")) as stream:
            next(iter(stream.text_stream))
        assert client.messages.create(**ask()).content
    assert upstream.until(lambda: upstream.connections < 5)
