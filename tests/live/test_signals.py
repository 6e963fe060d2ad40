"""A router process that is told to stop while it is busy."""

import http.client
import signal
import socket
import time
from pathlib import Path

import pytest

from cli.practice import Ending, PracticeUpstream
from tests.live.routers import LOOPS, RouterProcess, RunningRouter, new_token
from tests.support.practice import user_says
from tests.support.requests import post
from tests.support.stage import SocketEnd

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("loop", LOOPS)]

LAST_CHUNK = b"0\r\n\r\n"


def connected(router: RouterProcess) -> SocketEnd:
    host, port = router.address.split(":")
    return SocketEnd(socket.create_connection((host, int(port))))


def streaming(router: RouterProcess, wish: str) -> SocketEnd:
    """A client that has seen its stream begin."""
    end = connected(router)
    end.send(post(new_token().encode(), user_says(f"hello\n{wish}", stream=True)))
    assert end.head()[0] == b"HTTP/1.1 200 OK"
    end.until(b"event: content_block_start")
    return end


def broken_off(end: SocketEnd) -> bool:
    """The stream ends with an error event that says why, and not as a complete body."""
    rest = end.rest()
    return b"event: error\n" in rest and b"shutting down" in rest and not rest.endswith(LAST_CHUNK)


def test_running_answers_are_finished_and_new_clients_turned_away(
    loop: str, upstream: PracticeUpstream, tmp_path: Path
) -> None:
    with RouterProcess(loop, tmp_path, upstream.origin) as router:
        streams = [streaming(router, "/size 80\n/slow 10") for _ in range(8)]
        waiting = connected(router)
        waiting.send(post(new_token().encode(), user_says("hello\n/wait 800")))
        idle = http.client.HTTPConnection(router.address)
        idle.request("GET", "/health")
        assert idle.getresponse().read() == b"ok"
        router.send_signal(signal.SIGTERM)
        router.said(b"Shutting down")
        with pytest.raises(ConnectionRefusedError):
            connected(router)
        idle.request("GET", "/health")
        health = idle.getresponse()
        assert (health.status, health.read()) == (503, b"draining")
        idle.close()
        for end in streams:
            rest = end.rest()
            assert b"event: message_stop" in rest
            assert rest.endswith(LAST_CHUNK)
        status, headers, _ = waiting.response()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert router.exit_code() == 0
        for end in [*streams, waiting]:
            end.close()
    assert b"Traceback" not in router.output


def test_a_second_signal_ends_everything_at_once(loop: str, upstream: PracticeUpstream, tmp_path: Path) -> None:
    with RouterProcess(loop, tmp_path, upstream.origin) as router:
        streams = [streaming(router, "/stall 5") for _ in range(8)]
        waiting = connected(router)
        waiting.send(post(new_token().encode(), user_says("hello\n/wait 60000")))
        assert upstream.until(lambda: b"60000" in upstream.requests[-1].body)
        router.send_signal(signal.SIGINT)
        router.said(b"Shutting down")
        told = time.monotonic()
        router.send_signal(signal.SIGTERM)
        assert [broken_off(end) for end in streams] == [True] * len(streams)
        assert waiting.response()[0] == 503
        assert router.exit_code() == 0
        assert time.monotonic() - told < 3
        for end in [*streams, waiting]:
            end.close()
    asked = upstream.requests[-9:]
    assert upstream.until(lambda: all(record.ending is Ending.CLIENT_LEFT for record in asked))


def test_the_grace_period_ends_what_goes_on_for_ever(loop: str, upstream: PracticeUpstream, tmp_path: Path) -> None:
    with RouterProcess(loop, tmp_path, upstream.origin, DRAIN_GRACE_SECS="0.4") as router:
        short, endless = streaming(router, "/size 5\n/slow 10"), streaming(router, "/size 100000\n/slow 10")
        told = time.monotonic()
        router.send_signal(signal.SIGTERM)
        assert short.rest().endswith(LAST_CHUNK)
        assert broken_off(endless)
        assert router.exit_code() == 0
        assert 0.4 <= time.monotonic() - told < 5
        short.close()
        endless.close()


def test_a_router_may_be_stopped_as_soon_as_it_listens(loop: str, upstream: PracticeUpstream) -> None:
    for _ in range(20):
        with RunningRouter(loop, upstream.origin):
            pass


def test_settings_are_read_again_on_sighup_without_touching_a_stream(
    loop: str, upstream: PracticeUpstream, tmp_path: Path
) -> None:
    (tmp_path / ".lenv").write_text("MODEL_MAP: gpt-4o=claude-haiku-4-5\nUPSTREAM_IDLE_CONNECTIONS: 5\n")
    with RouterProcess(loop, tmp_path, upstream.origin) as router:
        stream = streaming(router, "/size 60\n/slow 10")
        (tmp_path / ".lenv").write_text(
            "MODEL_MAP: gpt-4o=claude-opus-4-7\nUPSTREAM_IDLE_CONNECTIONS: 6\nDISABLE_METRICS: yes\n"
        )
        router.send_signal(signal.SIGHUP)
        router.said(b"MODEL_MAP has changed")
        router.said(b"UPSTREAM_IDLE_CONNECTIONS has changed, which takes effect with the next start")
        client = http.client.HTTPConnection(router.address)
        client.request("GET", "/metrics")
        answer = client.getresponse()
        answer.read()
        assert answer.status == 404
        (tmp_path / ".lenv").write_text("DISABLE_METRICS: perhaps\n")
        router.send_signal(signal.SIGHUP)
        router.said(b"the settings stay as they are")
        client.request("GET", "/metrics")
        assert client.getresponse().status == 404
        client.close()
        assert stream.until(LAST_CHUNK), "the stream went on to its end"
        stream.close()
