"""Streams and verbs on asyncio: each connection is a ``Protocol`` whose callbacks call straight into the core."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import cast, final

from protocol.commands import Job, Loss
from protocol.egress import Destination
from protocol.gateway import Gateway
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import ConnId
from transports import listen
from transports.dialler import ALLOWED, CheckAddress, Dialler, Found, Line, NotConnected, why_not
from transports.jobs import Jobs
from transports.server import epoch, monotonic
from transports.shell import CLOSE_SECONDS, READ_SIZE, Report, Shell, Stream
from transports.tls import TlsPump, Trust


@final
class AsyncioStream(Stream, asyncio.Protocol):
    """One transport."""

    def __init__(self, shell: "AsyncioShell", tls: TlsPump | None, *, accepted: bool) -> None:
        super().__init__(shell, tls, accepted=accepted)
        self._owner = shell
        self._transport: asyncio.Transport | None = None
        self._eof_wanted = False

    # The loop's callbacks ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened = self._transport = cast("asyncio.Transport", transport)
        opened.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        connection: socket.socket = opened.get_extra_info("socket")
        try:
            listen.tune(connection)
            peer = listen.peer_of(connection)
        except OSError:
            opened.abort()
            return
        if self._accepted:
            self._owner.accepted(self, peer)
        else:
            self._owner.upstream(self.conn, self)
            self.opened()

    def data_received(self, data: bytes) -> None:
        self.arrived(data)

    def eof_received(self) -> bool:
        self.arrived_eof()
        return not self._closing

    def connection_lost(self, exc: Exception | None) -> None:
        self.sent_all()
        self.broke(Loss.RESET, "" if exc is None else getattr(exc, "strerror", None) or type(exc).__name__)

    def pause_writing(self) -> None:
        self.backlog(HIGH_WATER + 1)

    def resume_writing(self) -> None:
        self.backlog(LOW_WATER)
        self._shell.tell_now()

    @property
    def unsent(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    # Orders --------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and data and not transport.is_closing():
            transport.write(data)

    def send_eof(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with suppress(OSError):  # gone meanwhile; connection_lost tells
                self._transport.write_eof()

    def finish(self, *, reset: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if reset:
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            return
        transport.close()
        if transport.get_write_buffer_size():
            self._owner.loop.call_later(CLOSE_SECONDS, transport.abort)

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


@final
class AsyncioShell(Shell):
    """The verbs."""

    def __init__(
        self,
        gateway: Gateway,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        trust: Trust,
        jobs: Jobs,
        report: Report,
        *,
        check_address: CheckAddress = ALLOWED,
    ) -> None:
        super().__init__(gateway, clock=monotonic, report=report)
        self._jobs = jobs
        self.loop = loop
        self.finished = asyncio.Event()
        self._listeners = listeners
        self._trust = trust
        self._dialler = AsyncioDialler(loop, trust, check_address)
        self._servers: list[asyncio.Server] = []
        self._connecting: dict[ConnId, asyncio.Task[None]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None

    async def listen(self) -> None:
        """Take connections as they come."""
        for listener in self._listeners:
            if listener.family == socket.AF_UNIX:
                server = await self.loop.create_unix_server(self._client, sock=listener, backlog=listen.BACKLOG)
            else:
                server = await self.loop.create_server(self._client, sock=listener, backlog=listen.BACKLOG)
            self._servers.append(server)

    def connect(self, conn: ConnId, destination: Destination) -> None:
        self._connecting[conn] = self.loop.create_task(self._connect(conn, destination))

    def abandon_connect(self, conn: ConnId) -> None:
        task = self._connecting.pop(conn, None)
        if task is not None:
            task.cancel()

    def work(self, job: Job) -> None:
        task = self.loop.create_task(self._work(job))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def rearm(self, deadline: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if deadline is None:
            self._alarm = None
        else:
            self._alarm = self.loop.call_later(max(0.0, deadline - monotonic()), self._ring)

    def stop_listening(self) -> None:
        listen.remove_socket_files(self._listeners)  # before the servers close the sockets that know their names
        for server in self._servers:
            server.close()
        listen.close_all(self._listeners)

    def drained(self) -> None:
        self.finished.set()

    def sync_clock(self) -> None:
        self.gateway.clock_synced(epoch())

    def close(self) -> None:
        """Leave nothing running behind."""
        self.stop_listening()
        self.rearm(None)
        for task in (*self._connecting.values(), *self._working):
            task.cancel()
        for stream in list(self.streams.values()):
            stream.finish(reset=False)

    def _client(self) -> AsyncioStream:
        return AsyncioStream(self, None, accepted=True)

    def _ring(self) -> None:
        self._alarm = None
        self.tick()

    async def _connect(self, conn: ConnId, destination: Destination) -> None:
        try:
            await self._dial(conn, destination)
        except (NotConnected, OSError, UnicodeError) as error:
            self.not_connected(conn, *why_not(error))
        finally:
            self._connecting.pop(conn, None)

    async def _dial(self, conn: ConnId, destination: Destination) -> None:
        """Race the host's addresses (RFC 8305) and take the socket that wins, unless there is more to it."""
        origin = destination.origin
        if not destination.plain:
            connection, tls = await self._dialler.dial(destination)
            await self.loop.create_connection(partial(self._upstream, conn, tls), sock=connection)
        elif isinstance(self.loop, asyncio.BaseEventLoop):
            new_stream = partial(self._upstream, conn, self._trust.pump(origin))
            await self.loop.create_connection(new_stream, origin.host, origin.port, happy_eyeballs_delay=0.25)
        else:  # uvloop takes one after the other
            new_stream = partial(self._upstream, conn, self._trust.pump(origin))
            await self.loop.create_connection(new_stream, origin.host, origin.port)

    def _upstream(self, conn: ConnId, tls: TlsPump | None) -> AsyncioStream:
        stream = AsyncioStream(self, tls, accepted=False)
        stream.conn = conn
        return stream

    async def _work(self, job: Job) -> None:
        result = await self.loop.run_in_executor(None, self._jobs.carry_out, job)
        self.apply(self.gateway.completed(job.job, result, self.clock()))


@final
class AsyncioDialler(Dialler):
    """Looks names up and connects on asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop, trust: Trust, check_address: CheckAddress) -> None:
        super().__init__(trust, check_address)
        self._loop = loop

    async def look_up(self, host: str, port: int) -> Sequence[Found]:
        return await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def try_address(self, found: Found, seconds: float) -> "AsyncioLine | None":
        family, kind, protocol, _, address = found
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(None if seconds == inf else seconds):
                await self._loop.sock_connect(connection, address)
        except TimeoutError:
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return AsyncioLine(self._loop, connection)


@final
class AsyncioLine(Line):
    """A socket on asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._loop = loop
        self._socket = connection

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, READ_SIZE)

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    def detach(self) -> socket.socket:
        return self._socket
