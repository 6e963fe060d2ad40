"""Calls: a refusal in the caller's dialect, and the date of an answer."""

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from protocol.call import Call, http_date
from protocol.errors import Refusal
from protocol.values import Peer, PeerKind, RequestHead


def call() -> Call:
    return Call(RequestHead(b"POST", b"/v1/messages?a=b", []), Peer(PeerKind.LOOPBACK, "here"), "req_1", 0.0, 0.0)


def test_a_refusal_is_a_whole_answer_with_its_headers() -> None:
    head, body = call().refuse(Refusal(429, "slow down", headers=[(b"retry-after", b"5")]))
    assert head.status == 429
    assert head.headers[0] == (b"content-type", b"application/json")
    assert head.headers[-1] == (b"retry-after", b"5")
    assert {(b"request-id", b"req_1"), (b"x-request-id", b"req_1")} <= set(head.headers), "either API's clients look"
    assert body == b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}'


def test_a_refusal_is_told_in_the_callers_dialect() -> None:
    asked = call()
    asked.render_error = lambda refusal, request_id: (418, f"{refusal.message} {request_id}".encode())
    head, body = asked.refuse(Refusal(400, "no"))
    assert (head.status, body) == (418, b"no req_1")


def test_the_headers_of_a_refusal_are_not_shared_between_answers() -> None:
    refusal = Refusal(503, "later", headers=[(b"retry-after", b"5")])
    first, _ = call().refuse(refusal)
    first.headers.append((b"x", b"y"))
    assert (b"x", b"y") not in call().refuse(refusal)[0].headers
    assert refusal.headers == [(b"retry-after", b"5")]


@given(wall=st.floats(0, 4e9))
def test_the_date_is_as_http_writes_it(wall: float) -> None:
    assert http_date(wall).decode() == format_datetime(datetime.fromtimestamp(int(wall), UTC), usegmt=True)
