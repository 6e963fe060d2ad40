"""Streams and verbs on asyncio: each connection is a ``Protocol`` whose callbacks call straight into the core."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import cast, final

from protocol.commands import Job, Loss
from protocol.gateway import Gateway
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import ConnId, Origin
from transports import listen
from transports.jobs import Jobs
from transports.server import epoch, monotonic
from transports.shell import CLOSE_SECONDS, Report, Shell, Stream, why_not
from transports.tls import TlsPump


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
        context: ssl.SSLContext | None,
        jobs: Jobs,
        report: Report,
    ) -> None:
        super().__init__(gateway, clock=monotonic, report=report)
        self._jobs = jobs
        self.loop = loop
        self.finished = asyncio.Event()
        self._listeners = listeners
        self._context = context
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

    def connect(self, conn: ConnId, origin: Origin) -> None:
        self._connecting[conn] = self.loop.create_task(self._connect(conn, origin))

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

    async def _connect(self, conn: ConnId, origin: Origin) -> None:
        tls = TlsPump(self._context, origin.host) if origin.tls and self._context is not None else None
        stream = AsyncioStream(self, tls, accepted=False)
        stream.conn = conn
        try:
            if isinstance(self.loop, asyncio.BaseEventLoop):  # races the host's addresses (RFC 8305); uvloop cannot
                await self.loop.create_connection(lambda: stream, origin.host, origin.port, happy_eyeballs_delay=0.25)
            else:
                await self.loop.create_connection(lambda: stream, origin.host, origin.port)
        except (OSError, UnicodeError) as error:
            self.not_connected(conn, *why_not(error))
        finally:
            self._connecting.pop(conn, None)

    async def _work(self, job: Job) -> None:
        result = await self.loop.run_in_executor(None, self._jobs.carry_out, job)
        self.apply(self.gateway.completed(job.job, result, self.clock()))
