"""The loop-free half of a shell: commands become verbs, events become facts, in order, without a step in between."""

import pytest

from protocol.commands import LoadFiles, LogLevel, Loss, Write
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import JobId
from tests.support.bare import BareShell, encrypted
from tests.support.requests import BODY, EVENT, LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.tls import CLIENT_CONTEXT, NAME, STRANGER, Server, server_context
from transports.tls import TlsPump

# --- commands ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_written_and_its_connection_closed_when_that_was_asked_for() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(get(b"/health", b"Connection: close"))
    assert client.sent.endswith(b"\r\n\r\nok")
    assert client.done == ["close"]
    assert not shell.streams


def test_nothing_that_happens_to_a_closed_connection_is_told() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(get(b"/health", b"Connection: close"))
    logged = len(shell.logs)
    client.arrived(get(b"/health"))
    client.arrived_eof()
    client.broke(Loss.RESET, "")
    client.backlog(1 << 20)
    assert client.lost(Loss.RESET, "") == []
    shell.tell_now()
    assert len(shell.logs) == logged
    assert client.done == ["close"]


def test_orders_about_connections_that_are_gone_are_passed_over() -> None:
    """A peer may vanish while the commands of one turn are carried out."""
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    shell.forget(client.conn)
    upstream.arrived(STREAM_HEAD + chunk(EVENT) + LAST_CHUNK)
    shell.forget(upstream.conn)
    shell.drain(0)
    assert client.sent == b""


def test_a_connection_that_is_still_being_made_is_abandoned() -> None:
    shell = BareShell()
    client = shell.asking()
    (conn, destination) = shell.connecting[0]
    assert str(destination.origin) == f"https://{NAME}"
    client.arrived_eof()
    assert shell.abandoned == [conn]


def test_a_connection_that_could_not_be_made_is_told() -> None:
    shell = BareShell()
    client = shell.asking()
    conn, _ = shell.connecting.popleft()
    shell.not_connected(conn, Loss.REFUSED, "nobody there")
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert b"nobody there" in client.sent


def test_a_shutdown_is_passed_on() -> None:
    shell = BareShell()
    client = shell.client()
    shell.drain(5)
    assert shell.done == ["stop listening", "drained"]
    assert client.done == ["close"]


def test_the_alarm_is_set_only_when_the_deadline_moves() -> None:
    shell = BareShell()
    client = shell.client()
    assert shell.armed == [1030.0]
    client.arrived(b"\r\n")
    assert shell.armed == [1030.0]
    client.arrived(get(b"/health"))
    assert shell.armed == [1030.0, 1075.0]
    shell.now = 1075.0
    shell.tick()
    assert client.done == ["close"]


def test_crossing_a_watermark_is_told_once_and_after_the_commands_under_way() -> None:
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    upstream.arrived(STREAM_HEAD)
    for pending in (1, HIGH_WATER, HIGH_WATER + 1, HIGH_WATER + 2):
        client.backlog(pending)
    assert upstream.done == [], "nothing is told amid a turn"
    shell.tell_now()
    assert upstream.done == ["pause"]
    for pending in (LOW_WATER + 1, LOW_WATER, 0):
        client.backlog(pending)
        shell.tell_now()
    assert upstream.done == ["pause", "resume"]


def test_a_client_that_is_lost_amid_a_turn_is_told_as_a_fact_of_its_own() -> None:
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    shell.tell_later(lambda: client.lost(Loss.RESET, "broken pipe"))
    shell.tell_now()
    assert upstream.done == ["close"]
    assert not shell.streams


def test_an_upload_that_is_answered_early_is_half_closed() -> None:
    shell = BareShell()
    client = shell.client()
    client.arrived(post(b"la_sk_wrong", b"x" * 1000)[:-500])
    assert client.done == ["eof"]


def test_the_wall_clock_is_read_again_for_each_request_of_a_client() -> None:
    """It may have been set while the connection was idle."""
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    upstream.arrived(reply())
    assert client.taken().startswith(b"HTTP/1.1 200 ")
    shell.epoch += 3601
    client.arrived(post(shell.token()))
    assert client.taken().startswith(b"HTTP/1.1 401 ")
    assert not shell.connecting


# --- shutting down ----------------------------------------------------------------------------------------------------


def test_the_loop_is_left_only_when_every_last_byte_is_out() -> None:
    shell = BareShell()
    slow, slower = shell.client(), shell.client()
    slow.stuck = slower.stuck = True
    shell.drain(5)
    assert (slow.done, slower.done) == (["close"], ["close"])
    slow.flows()
    assert shell.done == ["stop listening"]
    slower.flows()
    assert shell.done == ["stop listening", "drained"]
    assert not shell.unsent


def test_last_bytes_that_were_closed_before_the_shutdown_are_waited_for_too() -> None:
    shell = BareShell()
    client = shell.client()
    client.stuck = True
    client.arrived(get(b"/health", b"Connection: close"))
    assert client.done == ["close"]
    shell.drain(5)
    assert shell.done == ["stop listening"]
    client.flows()
    assert shell.done == ["stop listening", "drained"]


def test_bytes_that_are_out_before_the_core_is_done_do_not_end_it() -> None:
    shell = BareShell()
    client, _ = shell.client(), shell.asking()
    client.stuck = True
    client.arrived(get(b"/health", b"Connection: close"))
    shell.drain(5)
    client.flows()
    assert shell.done == ["stop listening"]


@pytest.mark.parametrize("grace", [[0.0], [60.0, 0.0]])
def test_whoever_has_no_time_left_does_not_wait_for_slow_readers(grace: list[float]) -> None:
    shell = BareShell()
    shell.client().stuck = True
    for seconds in grace:
        assert "drained" not in shell.done
        shell.drain(seconds)
    assert shell.done == ["stop listening", "drained"]


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amid_facts", [False, True])
def test_a_command_that_fails_costs_its_own_connection_and_no_other(amid_facts: bool) -> None:
    shell = BareShell()
    troubled, other = shell.client(), shell.client()
    troubled.fault = RuntimeError("no idea")
    commands = [Write(troubled.conn, b"one"), Write(other.conn, b"two")]
    if amid_facts:
        shell.tell_later(lambda: list(commands))
        shell.tell_now()
    else:
        shell.apply(commands)
    assert other.sent == b"two"
    assert (troubled.done, other.done) == (["close"], [])
    assert list(shell.streams) == [other.conn]
    assert list(shell.gateway._links) == [other.conn]
    (record,) = [log for log in shell.logs if log.level is LogLevel.ERROR]
    assert record.event == "a command could not be carried out"
    assert record.fields == {"command": "Write", "type": "RuntimeError"}, "its text may quote what was to be sent"


def test_a_client_whose_connection_fails_amid_its_answer_cancels_the_request() -> None:
    shell = BareShell()
    client = shell.asking()
    upstream = shell.upstream_over(None)
    client.fault = RuntimeError("no idea")
    upstream.arrived(STREAM_HEAD + chunk(EVENT))
    assert (client.done, upstream.done) == (["close"], ["close"])
    assert not shell.streams


def test_a_command_that_fails_and_names_no_connection_costs_none() -> None:
    shell = BareShell()
    client = shell.client()
    shell.disk_fault = ValueError("embedded null byte")
    shell.apply([LoadFiles(JobId(99), ["/home"], None), Write(client.conn, b"on")])
    assert (client.sent, client.done) == (b"on", [])
    (record,) = [log for log in shell.logs if log.level is LogLevel.ERROR]
    assert record.fields["command"] == "LoadFiles"


@pytest.mark.parametrize(("stuck", "how"), [(False, "close"), (True, "reset")])
def test_a_connection_that_broke_is_given_back_at_once(stuck: bool, how: str) -> None:
    """Its bytes will never be taken: waiting for that would keep its descriptor."""
    shell = BareShell()
    client = shell.client()
    client.stuck = stuck
    client.broke(Loss.RESET, "")
    assert client.done == [how]
    assert not shell.streams
    shell.drain(5)
    assert shell.done == ["stop listening", "drained"]


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_an_upstream_is_spoken_to_once_the_handshake_is_over() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    assert server.plain.endswith(BODY)
    upstream.arrived(server.says(reply(b"hello")))
    assert client.sent.endswith(b"\r\n\r\nhello")


def test_a_clean_end_is_an_end_and_what_follows_does_not_matter() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"HTTP/1.1 200 OK\r\n\r\nall of it") + server.ends())
    upstream.arrived_eof()
    assert client.sent.endswith(chunk(b"all of it") + LAST_CHUNK)


def test_an_end_that_was_not_announced_is_a_cut() -> None:
    """Anybody on the way could have made it."""
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"HTTP/1.1 200 OK\r\n\r\nsome of it"))
    upstream.arrived_eof()
    assert client.sent.endswith(chunk(b"some of it"))
    assert client.done == ["close"]


def test_an_end_after_the_announced_one_is_no_news() -> None:
    shell, server = BareShell(), Server()
    shell.asking()
    upstream = encrypted(shell, server)
    upstream._tls.ended = True  # type: ignore[union-attr]
    upstream.arrived_eof()
    assert upstream.conn in shell.streams


def test_a_certificate_that_does_not_fit_is_a_502_and_the_server_is_told() -> None:
    shell, server = BareShell(), Server(server_context(STRANGER))
    client = shell.asking()
    upstream = shell.upstream_over(TlsPump(CLIENT_CONTEXT, NAME))
    upstream.arrived(server.takes(upstream.taken()))
    assert b"certificate not accepted" in client.sent
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert upstream.sent, "an alert"
    assert upstream.done == ["close"]


def test_closing_says_goodbye_unless_it_is_a_reset() -> None:
    for reset in (False, True):
        shell, server = BareShell(), Server()
        shell.asking()
        upstream = encrypted(shell, server)
        upstream.close(reset=reset)
        assert bool(upstream.sent) is not reset
        assert upstream.done == ["reset" if reset else "close"]


def test_the_rest_of_a_read_is_dropped_when_the_connection_was_closed_by_its_first_part() -> None:
    shell, server = BareShell(), Server()
    client = shell.asking()
    upstream = encrypted(shell, server)
    upstream.arrived(server.says(b"no HTTP at all\r\n\r\n") + server.ends())
    assert client.sent.startswith(b"HTTP/1.1 502 ")
    assert upstream.done == ["close"]
