"""What the core logs of each request, and what it leaves out."""

import json

import pytest

from protocol.commands import Close, Log, LogLevel, Loss, Write
from tests.support.requests import BODY, EVENT, LAST_CHUNK, STREAM_HEAD, chunk
from tests.support.scene import Scene


def test_each_request_is_one_line_with_what_an_operator_asks_about(scene: Scene) -> None:
    client = scene.client().posts(BODY, path=b"/v1/messages?beta=true")
    upstream = scene.upstream()
    scene.passes(0.25)
    upstream.sends(STREAM_HEAD)
    scene.passes(0.5)
    upstream.sends(chunk(EVENT) + LAST_CHUNK)
    client.until(LAST_CHUNK)
    (line,) = scene.requests()
    request_id = line.pop("request")
    assert isinstance(request_id, str)
    assert request_id.startswith("req_")
    assert line == {
        "method": "POST",
        "path": "/v1/messages",
        "status": 200,
        "token": "00000000-0000-4000-8000-000000000000",
        "account": "primary",
        "upstream_ms": 250.0,
        "first_byte_ms": 250.0,
        "total_ms": 750.0,
        "bytes_in": len(BODY),
        "bytes_out": len(EVENT),
        "ended": "done",
        "peer": "memory",
    }


def test_a_refused_request_is_logged_like_any_other(scene: Scene) -> None:
    client = scene.client().gets(b"/nowhere?key=value").sends(b"\x16\x03\x01")
    client.saw(404)
    client.saw(400)
    known, unreadable = scene.requests()
    assert (known["method"], known["path"], known["status"]) == ("GET", "/nowhere", 404)
    assert (known["token"], known["account"], known["upstream_ms"]) == (None, None, None)
    assert (unreadable["method"], unreadable["path"], unreadable["status"]) == ("-", "-", 400)
    assert all(log.level is LogLevel.INFO for log in scene.shell.logs)


def test_a_refusal_is_logged_with_its_reason(scene: Scene) -> None:
    client = scene.client().gets(b"/nowhere")
    _, _, body = client.response()
    (line,) = scene.requests()
    assert line["error"] == json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        (b"200 OK", LogLevel.INFO),
        (b"404 Not Found", LogLevel.INFO),
        (b"429 Too Many Requests", LogLevel.INFO),
        (b"500 Internal Server Error", LogLevel.WARN),
        (b"529 Overloaded", LogLevel.WARN),
    ],
)
def test_an_answer_that_tells_of_trouble_is_a_warning(scene: Scene, answer: bytes, level: LogLevel) -> None:
    client = scene.client().posts()
    scene.upstream().replies(b"{}", answer)
    client.saw(int(answer[:3]))
    (line,) = [log for log in scene.shell.logs if log.event == "request"]
    assert line.level is level
    assert "error" not in line.fields, "that one was the upstream's to say"


def test_an_upstream_that_cannot_be_reached_is_a_warning_with_its_reason(scene: Scene) -> None:
    scene.shell.connect_fails = Loss.REFUSED
    scene.client().posts().saw(502)
    (line,) = [log for log in scene.shell.logs if log.event == "request"]
    assert line.level is LogLevel.WARN
    assert "connection refused" in str(line.fields["error"])


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (b"/la_sk_eyJh.bGci.c2ln/v1/messages", "/la_sk_.../v1/messages"),
        (b"/v1/la_sk_eyJh", "/v1/la_sk_..."),
        (b"/v1/x-la_sk_a-b_c", "/v1/x-la_sk_..."),
        (b"/sk-ant-oat01-secret/sk-ant-api03-secret", "/sk-ant-.../sk-ant-..."),
        (b"/v1/models/la_sk_?key=la_sk_eyJh", "/v1/models/la_sk_"),
        (b"/v1/messages/la_s", "/v1/messages/la_s"),
    ],
)
def test_a_token_that_somebody_put_into_a_path_is_not_logged(scene: Scene, path: bytes, logged: str) -> None:
    scene.client().gets(path).response()
    (line,) = scene.requests()
    assert line["path"] == logged
    assert not any(secret in repr(scene.shell.logs) for secret in ("eyJh", "secret", "a-b_c"))


def test_an_answer_is_written_before_it_is_logged(scene: Scene) -> None:
    client = scene.client()
    scene.orders()
    client.gets()
    assert [type(order) for order in scene.orders(Write, Log)] == [Write, Log]
    client.posts()
    scene.upstream().replies()
    assert [type(order) for order in scene.orders(Write, Log)] == [Write, Write, Log]


def test_what_was_written_goes_out_before_anything_else_of_the_turn(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream().streams(EVENT)
    scene.orders()
    upstream.sends(LAST_CHUNK + b"surplus")
    written, *others = scene.orders(Write, Close, Log)
    assert written == Write(client.peer.conn, LAST_CHUNK)
    assert [type(order) for order in others] == [Close, Log]


def test_a_cut_answer_is_a_warning(scene: Scene) -> None:
    _, upstream = scene.streaming()
    upstream.half_close()
    assert [log.level for log in scene.shell.logs if log.event == "request"] == [LogLevel.WARN]


def test_every_request_has_an_id_of_its_own_that_the_client_sees(scene: Scene) -> None:
    client = scene.client()
    seen = [client.gets(path).response()[1][b"x-router-request-id"] for path in (b"/health", b"/nowhere", b"/health")]
    assert len(set(seen)) == 3
    assert [str(request["request"]).encode() for request in scene.requests()] == seen


def test_the_wall_clock_can_be_set_while_the_router_runs(scene: Scene) -> None:
    client = scene.client().posts(b"")
    scene.upstream().replies()
    client.saw(200)
    scene.shell.gateway.clock_synced(4e9)
    status, _, body = client.posts(b"").response()
    assert (status, json.loads(body)["error"]["message"]) == (401, "Token has expired")
