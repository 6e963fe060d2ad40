"""Two hundred clients at once with one token that is good for fifty requests."""

import socket
from collections import Counter

import pytest

from cli.practice import PracticeUpstream
from tests.live.administration import ask_json, issue, metrics, use
from tests.live.routers import RunningRouter
from tests.support.practice import user_says
from tests.support.requests import LAST_CHUNK, post
from tests.support.stage import SocketEnd

CLIENTS = 200
MOST = 50

pytestmark = pytest.mark.slow


def answered(end: SocketEnd) -> int:
    """The status of a whole answer, be it a stream or not."""
    line, fields = end.head()
    headers = dict(fields)
    if b"content-length" in headers:
        end.exactly(int(headers[b"content-length"]))
    else:
        assert b"event: message_stop" in end.until(LAST_CHUNK)
    return int(line.split()[1])


def test_exactly_as_many_requests_are_answered_as_the_token_is_good_for(
    own_router: RunningRouter, upstream: PracticeUpstream
) -> None:
    address = own_router.addresses[0]
    host, port = address.rsplit(":", 1)
    token_id, token = issue(address, max_requests=MOST, label="crowd")
    asked_before = metrics(address)["upstream_attempts_total"]
    ends = [SocketEnd(socket.create_connection((host, int(port)))) for _ in range(CLIENTS)]
    try:
        for number, end in enumerate(ends):
            end.send(post(token.encode(), user_says("hello\n/size 3\n/slow 5", stream=number % 2 == 0)))
        statuses = Counter(answered(end) for end in ends)
    finally:
        for end in ends:
            end.close()
    assert statuses == {200: MOST, 429: CLIENTS - MOST}
    seen = metrics(address)
    assert seen["upstream_attempts_total"] - asked_before == MOST
    assert (seen["status_total 200"] >= MOST, seen["status_total 429"]) == (True, CLIENTS - MOST)
    record = ask_json(address, "GET", f"/api/tokens/{token_id}")
    assert record["used_requests"] == MOST
    assert record["usage"]["output_tokens"] > 0


def test_requests_that_reached_nobody_are_given_back(own_router: RunningRouter, upstream: PracticeUpstream) -> None:
    address = own_router.addresses[0]
    token_id, token = issue(address, max_requests=1)
    upstream.stop()
    try:
        assert [use(address, token) for _ in range(3)] == [502] * 3
    finally:
        upstream.start()
    assert ask_json(address, "GET", f"/api/tokens/{token_id}")["used_requests"] == 0
