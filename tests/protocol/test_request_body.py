"""A request body on its way: counted, kept while that is cheap, never sent twice unless it is whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.request_body import WAITING_LIMIT, RequestBody

PARTS = st.lists(st.binary(max_size=40), max_size=8)


def test_a_request_without_a_body_is_complete_from_the_start() -> None:
    body = RequestBody(0, 10, 10)
    assert body.complete
    assert body.whole() == b""
    assert body.replayable


@pytest.mark.parametrize(("length", "allowed"), [(10, True), (11, False), (None, True)])
def test_an_announced_length_beyond_the_limit_is_a_413(length: int | None, allowed: bool) -> None:
    body = RequestBody(length, 10, 10)
    if allowed:
        body.admit()
    else:
        with pytest.raises(Refusal) as caught:
            body.admit()
        assert caught.value.status == 413


def test_a_body_that_grows_beyond_the_limit_is_a_413() -> None:
    body = RequestBody(None, 10, 10)
    body.add(b"x" * 10)
    with pytest.raises(Refusal) as caught:
        body.add(b"x")
    assert caught.value.status == 413


def test_a_body_is_kept_whole_until_it_goes_on_whatever_its_size() -> None:
    body = RequestBody(None, 1000, 10)
    body.add(b"x" * 900)
    assert body.replayable
    assert body.hand_on() == b"x" * 900
    assert not body.replayable, "a second time would need it kept"


def test_a_body_that_outgrows_the_replay_limit_on_its_way_is_not_kept() -> None:
    body = RequestBody(None, 1000, 10)
    body.add(b"x" * 5)
    body.hand_on()
    kept = []
    for part in (b"x" * 5, b"x"):
        body.add(part)
        kept.append((body.replayable, body.whole()))
    assert kept == [(True, b"x" * 10), (False, b"")]


def test_a_body_starts_over_from_its_first_byte() -> None:
    body = RequestBody(None, 1000, 100)
    body.add(b"one ")
    body.hand_on()
    body.add(b"two")
    body.restart()
    assert body.hand_on() == b"one two"


def test_the_client_is_held_only_for_what_waits() -> None:
    body = RequestBody(None, 1 << 30, 10)
    seen = []
    for part in (b"x" * WAITING_LIMIT, b"x"):
        body.add(part)
        seen.append(body.overfull)
    body.hand_on()
    assert [*seen, body.overfull] == [False, True, False]


def test_a_large_replay_limit_lets_as_much_wait() -> None:
    body = RequestBody(None, 1 << 30, 2 * WAITING_LIMIT)
    body.add(b"x" * (2 * WAITING_LIMIT))
    assert not body.overfull


@given(before=PARTS, after=PARTS, limit=st.integers(0, 400))
def test_what_goes_on_is_what_came_and_a_replay_is_whole_or_forbidden(
    before: list[bytes], after: list[bytes], limit: int
) -> None:
    body = RequestBody(None, 1 << 20, limit)
    for part in before:
        body.add(part)
    sent = body.hand_on()
    for part in after:
        body.add(part)
        sent += part
    everything = b"".join(before + after)
    assert sent == everything
    assert body.received == len(everything)
    assert body.replayable == (len(everything) <= limit)
    if body.replayable:
        body.restart()
        assert body.hand_on() == everything
