"""A request of the router's own: it goes out once, and is heard of once."""

import pytest

from protocol.effects import Failed, FailureKind, UpstreamRequest
from protocol.errand import Answered, Errand, ErrandResult
from protocol.errors import LocalError
from protocol.values import RequestHead
from tests.support.play import ORIGIN, Connection, House, head

HEAD = RequestHead(b"POST", b"/token", [])


class Sent:
    """An errand, its connection, and what was reported of it."""

    def __init__(self, body: bytes | None = b"question", limit: int = 10) -> None:
        self.house = House()
        self.reports: list[ErrandResult] = []
        self.errand = Errand(UpstreamRequest(ORIGIN, HEAD, body), limit, self.house, self.reports.append)

    @property
    def connection(self) -> Connection:
        (connection,) = self.house.channels
        return connection


def test_it_sends_its_body_once_it_is_connected() -> None:
    sent = Sent()
    assert sent.connection.events is sent.errand
    assert (sent.connection.sent, sent.connection.whole) == (b"", False)
    sent.errand.upstream_ready()
    assert (sent.connection.sent, sent.connection.whole) == (b"question", True)


@pytest.mark.parametrize("body", [None, b""])
def test_it_may_have_no_body(body: bytes | None) -> None:
    sent = Sent(body)
    sent.errand.upstream_ready()
    assert (sent.connection.sent, sent.connection.whole) == (b"", True)


def test_the_whole_answer_is_reported_at_its_end() -> None:
    sent = Sent()
    sent.errand.upstream_ready()
    sent.errand.upstream_head(head(201))
    for part in (b"12345", b"", b"67890"):
        sent.errand.upstream_body(part)
    assert sent.reports == []
    sent.errand.upstream_end()
    assert sent.reports == [Answered(head(201), b"1234567890")]


def test_an_answer_that_is_too_long_is_given_up_and_reported_as_a_failure() -> None:
    sent = Sent(limit=10)
    sent.errand.upstream_ready()
    sent.errand.upstream_head(head())
    sent.errand.upstream_body(b"x" * 11)
    assert sent.connection.cancelled
    assert sent.reports == [Failed(FailureKind.MALFORMED, "more than 10 bytes", sent.house.now)]


@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_is_reported_whether_or_not_an_answer_has_begun(begun: bool) -> None:
    sent = Sent()
    if begun:
        sent.errand.upstream_head(head())
        sent.errand.upstream_body(b"part")
    failure = Failed(FailureKind.LOST, "closed", 1.0)
    sent.errand.upstream_failed(failure)
    assert sent.reports == [failure]


def test_a_cancelled_errand_gives_up_its_connection_and_is_not_reported() -> None:
    sent = Sent()
    sent.errand.cancel()
    assert sent.connection.cancelled
    assert sent.reports == []


@pytest.mark.parametrize("ending", ["answered", "failed", "cancelled"])
def test_cancelling_an_errand_that_is_over_changes_nothing(ending: str) -> None:
    sent = Sent()
    match ending:
        case "answered":
            sent.errand.upstream_head(head())
            sent.errand.upstream_end()
        case "failed":
            sent.errand.upstream_failed(Failed(FailureKind.LOST, "", 0.0))
        case _:
            sent.errand.cancel()
            sent.connection.cancelled = False
    reports = list(sent.reports)
    sent.errand.cancel()
    assert not sent.connection.cancelled
    assert sent.reports == reports


def test_a_slow_upstream_changes_nothing() -> None:
    sent = Sent()
    sent.errand.upstream_full(True)
    sent.errand.upstream_ready()
    assert sent.connection.whole


def test_events_that_no_connection_sends_are_faults_of_ours() -> None:
    sent = Sent()
    with pytest.raises(LocalError, match="never began"):
        sent.errand.upstream_end()
    with pytest.raises(LocalError, match="is over"):
        sent.errand.upstream_ready()
