"""The practice upstream on real sockets: every mishap as a client meets it."""

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import trustme

from cli.practice import PRACTICE_API_KEY, PRACTICE_TOKEN, Ending, PracticeUpstream
from cli.practice.answers import Answer
from cli.practice.connection import MAX_BODY_BYTES, MAX_HEAD_BYTES, Connection
from cli.practice.directives import Directives
from cli.practice.provider import Provider
from cli.practice.records import Journal
from protocol.values import RequestHead
from tests.support.practice import (
    RawClient,
    RawResponse,
    assembled,
    last_request,
    post,
    request,
    server_sent_events,
    user_says,
)

STREAM = user_says("hello", stream=True)
COUNT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def order(wishes: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-practice", wishes.encode())]


def ask(client: RawClient, text: str, *, stream: bool = True) -> RawResponse:
    return client.ask(post(user_says(text, stream=stream)))


def complete_stream(response: RawResponse) -> bool:
    return response.complete and assembled(server_sent_events(response.body))["stop_reason"] == "end_turn"


# Answers as the provider gives them.


def test_a_stream_arrives_whole_with_the_providers_headers(client: RawClient) -> None:
    response = ask(client, "hello")
    assert response.status == 200
    assert complete_stream(response)
    assert response.header(b"content-type") == [b"text/event-stream; charset=utf-8"]
    assert response.header(b"cache-control") == [b"no-cache"]
    assert response.header(b"request-id")[0].startswith(b"req_01")
    assert response.header(b"anthropic-organization-id")
    assert response.header(b"anthropic-ratelimit-requests-remaining")
    assert len(response.header(b"vary")) == 2


def test_a_session_sees_usage_windows_and_a_key_sees_rates(client: RawClient) -> None:
    session = [(b"authorization", f"Bearer {PRACTICE_TOKEN}".encode()), (b"anthropic-beta", b"oauth-2025-04-20")]
    head = b"".join(b"%b: %b\r\n" % field for field in [*session, (b"anthropic-version", b"2023-06-01")])
    response = client.ask(b"GET /v1/models HTTP/1.1\r\nhost: practice\r\n%b\r\n" % head)
    assert response.header(b"anthropic-ratelimit-unified-5h-status") == [b"allowed"]
    assert not response.header(b"anthropic-ratelimit-requests-remaining")


def test_requests_are_recorded_as_they_came(upstream: PracticeUpstream, client: RawClient) -> None:
    client.ask(post(STREAM, target="/v1/messages?beta=true", headers=[(b"X-One", b"1"), (b"x-one", b"2")]))
    record = last_request(upstream, lambda record: record.ending is Ending.COMPLETE)
    assert (record.method, record.target, record.body, record.status) == ("POST", "/v1/messages?beta=true", STREAM, 200)
    assert record.headers[-2:] == [(b"X-One", b"1"), (b"x-one", b"2")]
    assert record.connection == upstream.accepted


def test_a_request_id_is_never_used_twice(client: RawClient) -> None:
    ids = [client.ask(request("GET", "/v1/models")).header(b"request-id") for _ in range(3)]
    assert len({identifier for (identifier,) in ids}) == 3


def test_the_probe_needs_no_credential_and_gets_no_body(client: RawClient) -> None:
    response = client.ask(b"HEAD /api/hello HTTP/1.1\r\nhost: practice\r\n\r\n")
    assert (response.status, response.body) == (200, b"")
    assert client.ask(request("GET", "/v1/models")).status == 200


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/v1/messages"), ("PUT", "/v1/files"), ("GET", "/"), ("GET", "/x")]
)
def test_anything_else_is_not_found(client: RawClient, method: str, target: str) -> None:
    response = client.ask(request(method, target))
    assert response.status == 404
    assert response.json()["error"]["type"] == "not_found_error"
    assert response.json()["request_id"].encode() == response.header(b"request-id")[0]


def test_only_the_credentials_named_are_good() -> None:
    with PracticeUpstream(credentials=[PRACTICE_TOKEN]) as upstream, RawClient(upstream) as client:
        response = client.ask(request("GET", "/v1/models"))
    assert response.status == 401
    assert response.json()["error"]["type"] == "authentication_error"


# The framing of requests.


def test_chunked_bodies_and_pipelined_requests_are_answered_in_order(client: RawClient) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, COUNT[at : at + 1]) for at in range(len(COUNT)))
    chunked = request("POST", "/v1/messages/count_tokens", [(b"transfer-encoding", b"chunked")]) + chunks + b"0\r\n\r\n"
    client.send(chunked + post(STREAM) + request("GET", "/v1/models"))
    assert client.answer().json() == {"input_tokens": 2}
    assert complete_stream(client.answer())
    assert client.answer(b"GET").json()["data"]


def test_a_client_that_waits_for_100_continue_gets_it(client: RawClient) -> None:
    whole = post(STREAM, headers=[(b"expect", b"100-continue")])
    client.send(whole.removesuffix(STREAM))
    assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(STREAM)
    assert complete_stream(client.answer())


def test_the_connection_stays_open_unless_the_client_asks_otherwise(client: RawClient) -> None:
    assert client.ask(request("GET", "/v1/models")).header(b"connection") == [b"keep-alive"]
    assert client.ask(request("GET", "/v1/models", [(b"connection", b"close")])).header(b"connection") == [b"close"]
    assert client.ended()


def test_http_1_0_gets_its_stream_without_chunks_until_the_end(client: RawClient) -> None:
    response = client.ask(post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert not response.header(b"transfer-encoding")
    assert complete_stream(response)
    assert client.ended()


@pytest.mark.parametrize(
    ("garbage", "status"),
    [(b"not http\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES, 431)],
)
def test_what_is_not_http_is_refused(upstream: PracticeUpstream, garbage: bytes, status: int) -> None:
    with RawClient(upstream) as client:
        response = client.ask(garbage)
        assert response.status == status
        assert response.header(b"connection") == [b"close"]
        assert client.ended()


def test_a_body_over_the_limit_is_refused_and_the_answer_survives(client: RawClient) -> None:
    client.send(post(bytes(MAX_BODY_BYTES + 1)))
    response = client.answer()
    assert response.status == 413
    assert response.json()["error"]["type"] == "request_too_large"


# Mishaps.


def test_an_error_in_the_shape_and_with_the_headers_asked_for(client: RawClient) -> None:
    response = ask(client, "/error 429 retry-after=7 window=7d reset=90 code=c message=Too much, too soon")
    assert response.status == 429
    assert response.json()["error"] == {
        "type": "rate_limit_error",
        "message": "Too much, too soon",
        "details": {"error_code": "c"},
    }
    assert response.header(b"retry-after") == [b"7"]
    assert response.header(b"anthropic-ratelimit-unified-status") == [b"rejected"]
    assert response.header(b"anthropic-ratelimit-unified-5h-status") == [b"allowed"]
    assert response.header(b"anthropic-ratelimit-unified-7d-status") == [b"rejected"]
    assert response.header(b"anthropic-ratelimit-unified-representative-claim") == [b"seven_day"]


def test_a_bare_error_names_no_limits(client: RawClient) -> None:
    response = client.ask(request("GET", "/v1/models", order("error=529")))
    assert response.json()["error"]["type"] == "overloaded_error"
    assert not [name for name, _ in response.headers if name.startswith(b"anthropic-ratelimit")]


def test_standing_orders_hold_for_their_credential_until_they_are_taken_back(client: RawClient) -> None:
    with PracticeUpstream() as upstream, RawClient(upstream) as client:
        upstream.orders[PRACTICE_API_KEY] = "error=503"
        assert client.ask(post(STREAM)).status == 503
        del upstream.orders[PRACTICE_API_KEY]
        assert client.ask(post(STREAM)).status == 200


def test_a_wish_that_cannot_be_is_a_bad_request(client: RawClient) -> None:
    response = client.ask(request("GET", "/v1/models", order("colour=red")))
    assert response.status == 400
    assert "colour" in response.json()["error"]["message"]


def test_an_error_event_ends_the_stream_in_good_order(client: RawClient) -> None:
    response = ask(client, "/error-event api_error after=3 message=Boom")
    events = server_sent_events(response.body)
    assert response.complete
    assert [event["type"] for event in events] == ["message_start", "content_block_start", "ping", "error"]
    assert events[-1]["error"] == {"type": "api_error", "message": "Boom"}


def test_a_cut_stream_ends_after_so_many_events_and_unclean(upstream: PracticeUpstream, client: RawClient) -> None:
    response = ask(client, "/cut 5")
    assert not response.complete
    assert len(server_sent_events(response.body)) == 5
    assert client.ended()
    assert last_request(upstream, lambda record: record.ending is Ending.DROPPED).writes == 5


def test_a_cut_body_ends_after_so_many_bytes(client: RawClient) -> None:
    response = ask(client, "/cut 7", stream=False)
    assert (response.body, response.complete) == (b'{"id":"', False)


def test_a_cut_can_hit_the_middle_of_an_event(client: RawClient) -> None:
    response = ask(client, "/split 10\n/cut 3")
    assert (len(response.body), response.complete) == (30, False)


@pytest.mark.parametrize("wish", ["/cut 0", "/stall 0\n/cut 0"])
def test_a_cut_after_nothing_still_shows_the_head(client: RawClient, wish: str) -> None:
    response = ask(client, wish)
    assert (response.status, response.body, response.complete) == (200, b"", False)


def test_a_cut_can_be_a_reset(client: RawClient) -> None:
    client.send(post(STREAM, headers=order("drop; reset-cut")))
    with pytest.raises(ConnectionResetError):
        client.socket.recv(1)


def test_a_stalled_stream_is_silent_until_the_client_leaves(upstream: PracticeUpstream) -> None:
    with RawClient(upstream) as client:
        client.send(post(user_says("/stall 2", stream=True)))
        assert last_request(upstream, lambda record: record.writes == 2).ending is None
    assert last_request(upstream, lambda record: record.ending is Ending.CLIENT_LEFT).writes == 2


def test_a_client_that_leaves_before_the_head_is_noticed_at_once(upstream: PracticeUpstream) -> None:
    with RawClient(upstream) as client:
        client.send(post(STREAM, headers=order("wait=3600000")))
        assert last_request(upstream, lambda record: record.body_complete).ending is None
    assert last_request(upstream, lambda record: record.ending is Ending.CLIENT_LEFT).status is None


def test_a_slow_reader_holds_the_stream_up(upstream: PracticeUpstream) -> None:
    with RawClient(upstream) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(post(user_says("/size 1000000", stream=True)))
        last_request(upstream, lambda record: record.writes > 100)
    assert last_request(upstream, lambda record: record.ending is Ending.CLIENT_LEFT).writes < 200_000


def test_a_split_stream_says_the_same(client: RawClient) -> None:
    whole, split = ask(client, "hello"), client.ask(post(STREAM, headers=order("split=3")))
    assert server_sent_events(split.body) == server_sent_events(whole.body)


def test_waits_and_gaps_are_kept(client: RawClient) -> None:
    began = time.monotonic()
    assert complete_stream(ask(client, "/size 10\n/slow 2\n/wait 30"))
    assert time.monotonic() - began >= 0.03 + 15 * 0.002


def test_a_drop_shows_no_answer(client: RawClient) -> None:
    client.send(post(user_says("/drop", stream=True)))
    assert client.ended()


def test_a_drop_of_reused_connections_spares_the_first_request(client: RawClient) -> None:
    first = post(STREAM, headers=order("drop=reused"))
    assert client.ask(first).status == 200
    with pytest.raises(ConnectionError, match="without an answer"):
        client.ask(first)


def test_an_early_answer_comes_before_the_body_and_survives_it(client: RawClient) -> None:
    body = bytes(1_000_000)
    client.send(post(body, headers=order("error=413; early")).removesuffix(body))
    response = client.answer()
    assert response.status == 413
    assert response.header(b"connection") == [b"close"]
    client.send(body)


def test_close_is_announced_and_a_hangup_is_not(upstream: PracticeUpstream) -> None:
    seen = {}
    for wish in ("close", "hangup"):
        with RawClient(upstream) as client:
            response = client.ask(post(STREAM, headers=order(wish)))
            assert complete_stream(response)
            assert client.ended()
            seen[wish] = response.header(b"connection")
    assert seen == {"close": [b"close"], "hangup": [b"keep-alive"]}


@pytest.mark.parametrize("wishes", ["gzip", "gzip; error=500"])
def test_gzip_only_where_it_is_accepted(client: RawClient, wishes: str) -> None:
    offered = client.ask(request("GET", "/v1/models", [*order(wishes), (b"accept-encoding", b"br, gzip")]))
    assert offered.header(b"content-encoding") == [b"gzip"]
    assert gzip.decompress(offered.body).startswith(b"{")
    assert client.ask(request("GET", "/v1/models", order(wishes))).body.startswith(b"{")


# The server as a whole.


def test_it_counts_its_connections_and_forgets_closed_ones() -> None:
    with PracticeUpstream() as upstream:
        with RawClient(upstream), RawClient(upstream):
            assert upstream.until(lambda: upstream.connections == 2)
        assert upstream.until(lambda: upstream.connections == 0)
        assert upstream.accepted == 2


def test_stopping_ends_every_connection_and_starting_again_keeps_the_port() -> None:
    upstream = PracticeUpstream()
    with upstream, RawClient(upstream) as client:
        origin = upstream.origin
        client.send(post(user_says("/stall", stream=True)))
        last_request(upstream, lambda record: record.writes == 1)
        upstream.stop()
        assert not client.answer().complete
        with pytest.raises(ConnectionRefusedError):
            RawClient(upstream)
    with upstream, RawClient(upstream) as client:
        assert upstream.origin == origin
        assert complete_stream(ask(client, "hello"))


def test_a_port_that_is_taken_is_an_error(upstream: PracticeUpstream) -> None:
    with pytest.raises(OSError, match="in use"):
        PracticeUpstream(port=upstream.port).start()


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_it_listens_on_ipv6_and_on_names(host: str) -> None:
    with PracticeUpstream(host) as upstream, RawClient(upstream) as client:
        assert upstream.origin == f"http://{'[::1]' if host == '::1' else host}:{upstream.port}"
        assert complete_stream(ask(client, "hello"))


def test_it_speaks_tls() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with PracticeUpstream("localhost", ssl_context=context) as upstream, RawClient(upstream) as client:
        assert upstream.origin.startswith("https://localhost:")
        client.socket = trusting.wrap_socket(client.socket, server_hostname="localhost")
        assert complete_stream(ask(client, "hello"))
        assert not ask(client, "/cut 5").complete


async def _events_of(port: int, count: Callable[[bytes], int]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(user_says("/size 12\n/slow 5", stream=True), headers=[(b"connection", b"close")]))
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return count(answer)


def test_many_slow_streams_run_side_by_side(upstream: PracticeUpstream) -> None:
    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(_events_of(upstream.port, lambda a: a.count(b"event: ")) for _ in range(100)))

    assert asyncio.run(all_of_them()) == [18] * 100


class Broken(Provider):
    def answer(self, head: RequestHead, body: bytes, wall: float) -> Answer:
        return Answer(200, [], (bytes(number) for number in (1, -1)), Directives())


def test_a_bug_of_our_own_ends_the_connection_and_is_reported() -> None:
    async def scene() -> tuple[bytes, list[dict[str, object]]]:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _, report: reports.append(report))
        server = await loop.create_server(lambda: Connection(Broken("", None, {}), Journal(), set()), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request("GET", "/"))
        answer = await reader.read(-1)
        writer.close()
        server.close()
        return answer, reports

    answer, reports = asyncio.run(scene())
    assert not answer.endswith(b"0\r\n\r\n")
    assert isinstance(reports[0]["exception"], ValueError)


@pytest.mark.slow
def test_it_runs_as_a_process_of_its_own_until_a_signal() -> None:
    command = [sys.executable, "-m", "cli.practice"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        origin = process.stdout.readline().strip()
        upstream = PracticeUpstream(port=int(origin.removeprefix("http://127.0.0.1:")))
        with RawClient(upstream) as client:
            assert complete_stream(ask(client, "hello"))
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
