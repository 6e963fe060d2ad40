"""Streams and verbs on trio, over pairs of connected sockets: what happens when a connection ends at a bad moment."""

import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.commands import Close, Log, LogLevel, Loss, Pause, Resume, ShutdownWrite, Write
from protocol.config import Config
from protocol.gateway import Gateway
from tests.support.requests import get
from tests.support.stage import PATIENCE, TOKEN_SECRET
from transports.jobs import Jobs
from transports.server import epoch
from transports.tls import Trust
from transports.trio.shell import TrioShell, TrioStream

MUCH = b"x" * (4 << 20)
"""More than a pair of sockets holds."""


@final
class Ground:
    """A shell in a nursery of its own."""

    def __init__(self, nursery: trio.Nursery, stack: ExitStack) -> None:
        self.nursery = nursery
        self.stack = stack
        self.logs: list[Log] = []
        config = Config.parse({"TOKEN_SECRET": TOKEN_SECRET}, home="/home")
        gateway = Gateway(config, entropy=lambda size: bytes(size), epoch=epoch())
        self.shell = TrioShell(gateway, nursery, [], Trust(None), Jobs(config), self.logs.append)

    def client(self) -> tuple[trio.socket.SocketType, TrioStream]:
        """A client's end and the router's."""
        far, near = map(self.stack.enter_context, socket.socketpair())
        before = set(self.shell.streams)
        self.shell._accept(near)
        (conn,) = set(self.shell.streams) - before
        stream = self.shell.streams[conn]
        assert isinstance(stream, TrioStream)
        far.setblocking(False)
        return self.stack.enter_context(trio.socket.from_stdlib_socket(far)), stream

    async def paused(self) -> tuple[trio.socket.SocketType, TrioStream]:
        """A client whose connection is not read any more: the task that did waits to be told to go on."""
        far, stream = self.client()
        await asks(far)
        self.shell.apply([Pause(stream.conn)])
        await asks(far)  # it was waiting already
        return far, stream

    def known(self, stream: TrioStream) -> bool:
        """The shell and the core know of this connection; they must not disagree."""
        known = stream.conn in self.shell.streams
        assert known == (stream.conn in self.shell.gateway._links)
        return known

    def answered(self) -> int:
        """How many requests have been answered."""
        return len([log for log in self.logs if log.event == "request"])

    def errors(self) -> list[Log]:
        return [log for log in self.logs if log.level is LogLevel.ERROR]


async def asks(far: trio.socket.SocketType) -> None:
    """A request that is answered."""
    await far.send(get(b"/health"))
    assert (await far.recv(65536)).endswith(b"\r\n\r\nok")


async def everything(far: trio.socket.SocketType) -> bytes:
    """All that comes until the end."""
    received = bytearray()
    while data := await far.recv(1 << 20):
        received += data
    return bytes(received)


def play(story: Callable[[Ground], Awaitable[None]]) -> None:
    """A story ends with all its connections; a task that crashes fails it."""

    async def main() -> None:
        with trio.fail_after(PATIENCE), ExitStack() as stack:
            async with trio.open_nursery() as nursery:
                ground = Ground(nursery, stack)
                await story(ground)
                nursery.cancel_scope.cancel()
            for stream in ground.shell.streams.values():
                stream.finish(reset=True)

    trio.run(main)


# --- readers that were told to wait -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "broke"])
def test_a_connection_that_is_closed_while_it_is_not_read_takes_nobody_with_it(how: str) -> None:
    async def story(ground: Ground) -> None:
        far, stream = await ground.paused()
        if how == "broke":
            stream.broke(Loss.RESET, "")
        else:
            ground.shell.apply([Close(stream.conn, reset=how == "reset")])
        assert await everything(far) == b""
        await wait_all_tasks_blocked()
        assert not ground.nursery.child_tasks, "whoever read it has gone home"
        other, _ = ground.client()
        await asks(other)

    play(story)


def test_a_close_that_waits_for_a_slow_peer_answers_nothing_more() -> None:
    """The writer goes on; the reader, told to go on, must not."""

    async def story(ground: Ground) -> None:
        far, stream = await ground.paused()
        await far.send(get(b"/health"))
        ground.shell.apply([Write(stream.conn, MUCH), Close(stream.conn)])
        await wait_all_tasks_blocked()
        assert len(ground.nursery.child_tasks) == 1, "the writer"
        received = bytearray()
        while len(received) < len(MUCH):
            received += await far.recv(1 << 20)
        assert received == MUCH
        assert ground.answered() == 2, "as before"

    play(story)


def test_a_paused_connection_is_read_again_when_that_is_ordered() -> None:
    async def story(ground: Ground) -> None:
        far, stream = await ground.paused()
        await far.send(get(b"/health"))
        await wait_all_tasks_blocked()
        assert ground.answered() == 2, "as before"
        ground.shell.apply([Resume(stream.conn)])
        assert (await far.recv(65536)).endswith(b"ok")

    play(story)


# --- writers that find out --------------------------------------------------------------------------------------------


def test_a_write_that_fails_tells_when_nobody_reads() -> None:
    async def story(ground: Ground) -> None:
        far, stream = await ground.paused()
        far.close()
        assert ground.known(stream)
        ground.shell.apply([Write(stream.conn, b"x")])
        assert not ground.known(stream)

    play(story)


def test_a_write_that_fails_later_tells_when_nobody_reads() -> None:
    async def story(ground: Ground) -> None:
        far, stream = await ground.paused()
        ground.shell.apply([Write(stream.conn, MUCH)])
        assert stream.unsent
        far.close()
        await wait_all_tasks_blocked()
        assert not ground.known(stream)
        assert not stream.unsent

    play(story)


def test_a_write_that_fails_leaves_it_to_the_reader_to_tell_after_all_that_came_before() -> None:
    async def story(ground: Ground) -> None:
        far, stream = ground.client()
        await far.send(get(b"/health"))
        far.close()
        ground.shell.apply([Write(stream.conn, b"x"), Write(stream.conn, b"y")])
        assert ground.known(stream)
        await wait_all_tasks_blocked()
        assert not ground.known(stream)
        assert ground.answered() == 1

    play(story)


# --- last bytes -------------------------------------------------------------------------------------------------------


def test_last_bytes_go_out_to_a_slow_reader_before_the_loop_is_left() -> None:
    async def story(ground: Ground) -> None:
        far, stream = ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        assert not ground.known(stream)
        await wait_all_tasks_blocked()
        assert not ground.shell.finished.is_set()
        assert await everything(far) == MUCH
        await ground.shell.finished.wait()

    play(story)


def test_a_slow_reader_that_leaves_is_waited_for_no_longer() -> None:
    async def story(ground: Ground) -> None:
        far, stream = ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        far.close()
        await ground.shell.finished.wait()
        assert not ground.shell.unsent

    play(story)


def test_without_time_left_the_loop_is_left_at_once() -> None:
    async def story(ground: Ground) -> None:
        _, stream = ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        assert not ground.shell.finished.is_set()
        ground.shell.drain(0)
        assert ground.shell.finished.is_set()

    play(story)


def test_an_end_follows_what_was_written_before_it() -> None:
    async def story(ground: Ground) -> None:
        far, stream = ground.client()
        ground.shell.apply([Write(stream.conn, MUCH), ShutdownWrite(stream.conn)])
        assert await everything(far) == MUCH
        assert ground.known(stream), "it is closed one way only"
        assert not ground.errors()

    play(story)


# --- accepting --------------------------------------------------------------------------------------------------------


@final
class Listener(socket.socket):
    """Listens on a port of its own; ``troubles`` are the error numbers of its first accepts."""

    troubles: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.troubles:
            raise OSError(self.troubles.pop(0), "trouble")
        return super().accept()


def listener(*troubles: int) -> Listener:
    made = Listener(socket.AF_INET, socket.SOCK_STREAM)
    made.troubles = list(troubles)
    made.bind(("127.0.0.1", 0))
    made.listen()
    made.setblocking(False)
    return made


@pytest.mark.parametrize(
    ("troubles", "errors"),
    [
        ([errno.EPROTO, errno.ENETDOWN, errno.ECONNRESET, errno.ECONNABORTED, errno.EAGAIN], 0),
        ([errno.EMFILE], 1),
    ],
    ids=["that connection's own", "no descriptor left"],
)
def test_connections_are_accepted_whatever_happened_to_an_earlier_one(troubles: list[int], errors: int) -> None:
    async def story(ground: Ground) -> None:
        listening = ground.stack.enter_context(listener(*troubles))
        ground.nursery.start_soon(ground.shell.accept_from, listening)
        with trio.socket.socket() as far:
            await far.connect(listening.getsockname())
            await asks(far)
        assert [log.event for log in ground.errors()] == ["cannot accept connections"] * errors

    play(story)


def test_a_listener_that_is_closed_is_no_longer_waited_for() -> None:
    async def story(ground: Ground) -> None:
        before, during = listener(), listener()
        before.close()
        await ground.shell.accept_from(before)
        ground.nursery.start_soon(ground.shell.accept_from, during)
        await wait_all_tasks_blocked()
        ground.shell._listeners = [during]
        ground.shell.stop_listening()
        await wait_all_tasks_blocked()
        assert not ground.nursery.child_tasks
        assert not ground.errors()

    play(story)
