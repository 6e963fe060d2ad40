"""Whose a new file, batch or message is: the id in an answer on its way through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.event_relay import EventStreamPassthrough
from protocol.relays import Passthrough, Relay
from protocol.resource_id import MOST_BYTES, IdTap, ReadId, made_id, message_id
from protocol.results_url import ResultsUrlRelay
from protocol.values import Tokens
from tests.support.splits import cut_points, split

FILE = b'{"type": "file", "id": "file_1", "name": "a"}'
MESSAGE = b'{"model": "claude-x", "id": "msg_01", "content": [{"type": "tool_use", "id": "toolu_1"}]}'
STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_01","content":[],'
    b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
)


class Tapped:
    """A relay with a tap, and what the tap has told."""

    def __init__(self, inner: Relay | None = None, read: ReadId = made_id) -> None:
        self.found: list[str] = []
        self.relay = IdTap(inner or Passthrough(), self.found.append, read)

    def after(self, *reads: bytes) -> bytes:
        return b"".join(map(self.relay.feed, reads)) + self.relay.finish()


@given(cuts=cut_points())
def test_the_id_is_found_however_the_answer_is_cut_and_every_byte_passes_at_once(cuts: list[int]) -> None:
    tapped = Tapped()
    for data in split(FILE, cuts):
        assert tapped.relay.feed(data) == data
        assert tapped.found == []
    assert tapped.relay.finish() == b""
    assert tapped.found == ["file_1"]


@pytest.mark.parametrize("answer", [MESSAGE, STREAM, b'{"id":"toolu_1","x":{"id"\t: "msg_01"}}'])
def test_a_message_is_known_by_its_id_in_either_form_of_answer(answer: bytes) -> None:
    assert message_id(answer) == "msg_01"


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b'{"id":"file_1"}', b'{"id":"msg_"}', json.dumps(MESSAGE.decode()).encode()]
)
def test_no_other_id_is_taken_for_a_message_s(answer: bytes) -> None:
    assert message_id(answer) is None


@given(answer=st.binary() | st.sampled_from([b"[]", b'{"id":7}', b'{"id":null}', b'{"id":"\xff"}', b"[" * 5000]))
def test_any_bytes_are_an_answer_without_an_id(answer: bytes) -> None:
    tapped = Tapped()
    assert tapped.after(answer) == answer
    assert tapped.found == []
    assert message_id(answer) is None


def test_of_a_long_answer_only_the_beginning_is_looked_at() -> None:
    long = FILE[:-1] + b', "more": "' + b"x" * MOST_BYTES + b'"}'
    for read, answer, found in ((made_id, long, []), (message_id, MESSAGE + b" " * 2 * MOST_BYTES, ["msg_01"])):
        tapped = Tapped(read=read)
        assert tapped.after(answer[:100], answer[100:]) == answer
        assert tapped.found == found
        assert sum(map(len, tapped.relay._seen)) <= MOST_BYTES


def test_an_answer_that_is_cut_tells_nothing_and_is_cut_as_it_would_be_without_a_tap() -> None:
    tapped = Tapped(EventStreamPassthrough(), message_id)
    bare = EventStreamPassthrough()
    assert tapped.relay.feed(STREAM) == bare.feed(STREAM)
    refusal = Refusal(502, "cut")
    assert tapped.relay.abort(refusal) == bare.abort(refusal)
    assert tapped.found == []


def test_what_the_relay_inside_does_is_what_the_client_gets() -> None:
    batch = b'{"id":"msgbatch_1","results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}'
    bare = ResultsUrlRelay("http://router")
    bare.feed(batch)
    tapped = Tapped(ResultsUrlRelay("http://router"))
    assert tapped.after(batch[:30], batch[30:]) == bare.finish()
    assert tapped.found == ["msgbatch_1"]


def test_what_an_answer_was_billed_for_is_the_inner_relay_s_to_say() -> None:
    delta = b'event: message_delta\ndata: {"type":"message_delta","usage":{"input_tokens":3,"output_tokens":5}}\n\n'
    tapped = Tapped(EventStreamPassthrough(), message_id)
    assert tapped.after(STREAM, delta) == STREAM + delta
    assert tapped.relay.tokens == Tokens(input=3, output=5)


def test_comments_and_completeness_are_the_inner_relay_s() -> None:
    tapped = Tapped(EventStreamPassthrough(), message_id)
    assert tapped.relay.comment() is not None
    tapped.relay.feed(STREAM[:10])
    assert tapped.relay.comment() is None
    assert not tapped.relay.complete
    assert Tapped().relay.comment() is None


class Spoilt(Relay):
    """Fails at the first byte, in a way that the client was told of."""

    failed = False

    def feed(self, data: bytes) -> bytes:
        self.failed = True
        return b"error"

    def finish(self) -> bytes:
        self.failed = True
        return b""

    def abort(self, error: Refusal) -> bytes | None:
        return b"aborted"

    @property
    def complete(self) -> bool:
        return True


def test_a_failure_inside_is_passed_on() -> None:
    tapped = Tapped(Spoilt())
    assert tapped.relay.feed(b"x") == b"error"
    assert (tapped.relay.failed, tapped.relay.complete) == (True, True)
    ended = Tapped(Spoilt())
    ended.relay.finish()
    assert ended.relay.failed
