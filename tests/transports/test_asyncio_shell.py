"""Streams and verbs on asyncio: connections that end at a bad moment, and what is left when nobody listens any more."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import final

import pytest

from protocol.commands import Close, Log, LogLevel, ShutdownWrite, Write
from protocol.config import Config
from protocol.gateway import Gateway
from tests.support.requests import get
from tests.support.stage import PATIENCE, TOKEN_SECRET
from transports.asyncio.shell import AsyncioShell, AsyncioStream
from transports.jobs import Jobs
from transports.listen import open_listeners
from transports.server import epoch
from transports.tls import Trust

MUCH = b"x" * (16 << 20)
"""More than two connected sockets hold."""


@final
class Ground:
    """A shell on the running loop."""

    def __init__(self, listeners: Sequence[socket.socket] = ()) -> None:
        self.logs: list[Log] = []
        self.loop = asyncio.get_running_loop()
        config = Config.parse({"TOKEN_SECRET": TOKEN_SECRET}, home="/home")
        gateway = Gateway(config, entropy=lambda size: bytes(size), epoch=epoch())
        self.shell = AsyncioShell(gateway, self.loop, listeners, Trust(None), Jobs(config), self.logs.append)

    async def client(self) -> tuple[socket.socket, AsyncioStream]:
        """A client's end and the router's, over TCP."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            far = socket.create_connection(listening.getsockname())
            near, _ = listening.accept()
        far.setblocking(False)
        stream = AsyncioStream(self.shell, None, accepted=True)
        await self.loop.create_connection(lambda: stream, sock=near)
        return far, stream

    async def everything(self, far: socket.socket) -> bytes:
        """All that comes until the end."""
        received = bytearray()
        while data := await self.loop.sock_recv(far, 1 << 20):
            received += data
        return bytes(received)

    def errors(self) -> list[Log]:
        return [log for log in self.logs if log.level is LogLevel.ERROR]


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await story()

    asyncio.run(main())


def test_an_end_for_a_peer_that_is_gone_already_is_no_error() -> None:
    async def story() -> None:
        ground = Ground()
        far, stream = await ground.client()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        ground.shell.apply([ShutdownWrite(stream.conn)])
        assert not ground.errors()
        assert stream.conn in ground.shell.streams, "the loop has yet to tell"
        ground.shell.drain(60)
        await ground.shell.finished.wait()
        ground.shell.close()

    play(story)


def test_last_bytes_go_out_to_a_slow_reader_before_the_loop_is_left() -> None:
    async def story() -> None:
        ground = Ground()
        far, stream = await ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        assert ground.shell.unsent == {stream}
        assert not ground.shell.finished.is_set()
        with far:
            assert await ground.everything(far) == MUCH
        await ground.shell.finished.wait()
        assert not ground.shell.unsent
        ground.shell.close()

    play(story)


def test_a_slow_reader_that_leaves_is_waited_for_no_longer() -> None:
    async def story() -> None:
        ground = Ground()
        far, stream = await ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        assert not ground.shell.finished.is_set()
        far.close()
        await ground.shell.finished.wait()
        assert not ground.shell.unsent
        ground.shell.close()

    play(story)


def test_without_time_left_the_loop_is_left_at_once() -> None:
    async def story() -> None:
        ground = Ground()
        far, stream = await ground.client()
        ground.shell.apply([Write(stream.conn, MUCH)])
        ground.shell.drain(60)
        assert not ground.shell.finished.is_set()
        ground.shell.drain(0)
        assert ground.shell.finished.is_set()
        with far:
            assert await ground.everything(far) == MUCH, "should the loop run on"
        ground.shell.close()

    play(story)


def test_a_reset_drops_what_is_unsent() -> None:
    async def story() -> None:
        ground = Ground()
        far, stream = await ground.client()
        ground.shell.apply([Write(stream.conn, MUCH), Close(stream.conn, reset=True)])
        with far, pytest.raises(ConnectionResetError):
            await ground.everything(far)
        assert not ground.shell.unsent
        ground.shell.close()

    play(story)


def test_the_file_of_a_unix_socket_goes_with_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "router.sock"

    async def story() -> None:
        config = Config.parse({"UNIX_SOCKET": str(path)}, home=None)
        ground = Ground(open_listeners(config))
        await ground.shell.listen()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get(b"/health", b"Connection: close"))
        assert (await reader.read()).endswith(b"\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        ground.shell.stop_listening()
        assert not path.exists()
        ground.shell.close()

    play(story)
