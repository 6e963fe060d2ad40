"""Streams and verbs on trio.

A connection costs one task that waits for its socket to become readable; everything else, sending included, happens
inline in that task. A second task exists only while the peer takes bytes slower than they come.
"""

import errno
import socket
import struct
from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final, final

import trio
from trio.lowlevel import notify_closing, wait_readable, wait_writable

from protocol.commands import Job, LoadFiles, Log, LogLevel, Loss
from protocol.egress import Destination
from protocol.gateway import Gateway
from protocol.values import ConnId
from transports import listen
from transports.dialler import ALLOWED, CheckAddress, Dialler, Found, Line, NotConnected, why_not
from transports.jobs import Jobs
from transports.server import epoch, monotonic
from transports.shell import CLOSE_SECONDS, READ_SIZE, Report, Shell, Stream
from transports.tls import TlsPump, Trust

ACCEPT_PAUSE_SECONDS: Final = 0.1
"""How long to wait when the process has no file descriptor left for another connection."""
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@final
class TrioStream(Stream):
    """One socket."""

    __slots__ = (
        "_at_eof",
        "_eof_wanted",
        "_nursery",
        "_outbox",
        "_pending",
        "_resumed",
        "_socket",
        "_write_failed",
        "_writing",
    )

    def __init__(
        self,
        shell: Shell,
        nursery: trio.Nursery,
        connection: socket.socket,
        tls: TlsPump | None,
        *,
        accepted: bool = False,
    ) -> None:
        super().__init__(shell, tls, accepted=accepted)
        self._nursery = nursery
        self._socket = connection
        self._outbox: deque[bytes] = deque()
        self._pending = 0
        self._resumed: trio.Event | None = None
        self._eof_wanted = False
        self._at_eof = False
        self._write_failed = False
        self._writing = trio.CancelScope()

    @property
    def _deaf(self) -> bool:
        """Nobody is reading, so nobody else would notice that the connection broke."""
        return self._at_eof or self._resumed is not None

    @property
    def unsent(self) -> bool:
        return self._pending > 0

    async def read(self) -> None:
        """Tell what arrives until the peer ends or the connection is closed."""
        connection = self._socket
        receive = connection.recv
        try:
            while not self._closing:
                if self._resumed is not None:
                    await self._resumed.wait()
                    continue
                await wait_readable(connection)
                try:
                    data = receive(READ_SIZE)
                except (BlockingIOError, InterruptedError):
                    continue
                if not data:
                    self._at_eof = True
                    self.arrived_eof()
                    return
                self.arrived(data)
                del data  # it would lie here as long as the connection is silent
        except trio.ClosedResourceError:
            return
        except OSError as error:
            self.broke(Loss.RESET, error.strerror or "")
        except Exception as error:  # one connection's trouble must not end the others
            self.broke(Loss.FAILED, type(error).__name__)

    def send(self, data: bytes) -> None:
        if self._pending:
            self._buffer(data)
            return
        if self._write_failed or not data:
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._write_failed = True  # the reader finds out why, after all that the peer sent before
            if self._deaf:
                self._shell.tell_later(partial(self.lost, Loss.RESET, error.strerror or ""))
            return
        if sent < len(data):
            self._buffer(data[sent:])
            self._writing = trio.CancelScope()
            self._nursery.start_soon(self._write_rest)

    def send_eof(self) -> None:
        self._eof_wanted = True
        if not self._pending:
            self._shutdown()

    def finish(self, *, reset: bool) -> None:
        if self._resumed is not None:
            self._resumed.set()
        if reset:
            self._reset()
        elif not self._pending:
            self._close_socket()
        else:
            self._writing.deadline = trio.current_time() + CLOSE_SECONDS

    def pause(self) -> None:
        if self._resumed is None:
            self._resumed = trio.Event()

    def resume(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def _buffer(self, data: bytes) -> None:
        self._outbox.append(data)
        self._pending += len(data)
        self.backlog(self._pending)

    async def _write_rest(self) -> None:
        """Send what the socket did not take at once. After ``finish`` the scope's deadline gives the peer so long."""
        connection, outbox = self._socket, self._outbox
        with self._writing:
            try:
                while outbox:
                    await wait_writable(connection)
                    try:
                        sent = connection.send(outbox[0])
                    except (BlockingIOError, InterruptedError):
                        continue
                    self._pending -= sent
                    rest = outbox.popleft()[sent:]
                    if rest:
                        outbox.appendleft(rest)
                    self.backlog(self._pending)
                    self._shell.tell_now()
            except trio.ClosedResourceError:
                self._write_failed = True
            except OSError as error:
                self._write_failed = True
                if self._deaf:
                    self.broke(Loss.RESET, error.strerror or "")
        outbox.clear()
        self._pending = 0
        if self._closing:
            self._close_socket()
        elif self._eof_wanted:
            self._shutdown()
        self.sent_all()

    def _shutdown(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._write_failed = True

    def _reset(self) -> None:
        try:
            if self._socket.fileno() >= 0:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            self._close_socket()

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()


@final
class TrioShell(Shell):
    """The verbs, and the tasks that listen and keep time."""

    def __init__(
        self,
        gateway: Gateway,
        nursery: trio.Nursery,
        listeners: Sequence[socket.socket],
        trust: Trust,
        jobs: Jobs,
        report: Report,
        *,
        check_address: CheckAddress = ALLOWED,
    ) -> None:
        super().__init__(gateway, clock=monotonic, report=report)
        self._jobs = jobs
        self.finished = trio.Event()
        self._nursery = nursery
        self._listeners = listeners
        self._trust = trust
        self._dialler = TrioDialler(trust, check_address)
        self._connecting: dict[ConnId, trio.CancelScope] = {}
        self._alarm = trio.CancelScope()

    async def accept_from(self, listener: socket.socket) -> None:
        """Take connections as they come, until nobody listens any more."""
        while listener.fileno() >= 0:
            try:
                await wait_readable(listener)
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except trio.ClosedResourceError:
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    continue  # that connection was gone before it was taken (accept(2), "Error handling")
                self._report(Log(LogLevel.ERROR, "cannot accept connections", {"error": error.strerror}))
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            self._accept(connection)

    async def keep_time(self) -> None:
        """Call ``tick`` whenever the deadline, which moves, has come."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self.tick()

    def connect(self, conn: ConnId, destination: Destination) -> None:
        scope = self._connecting[conn] = trio.CancelScope()
        self._nursery.start_soon(self._connect, conn, destination, scope)

    def abandon_connect(self, conn: ConnId) -> None:
        scope = self._connecting.pop(conn, None)
        if scope is not None:
            scope.cancel()

    def work(self, job: Job) -> None:
        self._nursery.start_soon(self._work, job)

    def rearm(self, deadline: float | None) -> None:
        self._alarm.deadline = trio.current_time() + deadline - monotonic() if deadline is not None else inf

    def stop_listening(self) -> None:
        for listener in self._listeners:
            notify_closing(listener)
        listen.close_all(self._listeners)

    def drained(self) -> None:
        self.finished.set()

    def sync_clock(self) -> None:
        self.gateway.clock_synced(epoch())

    def _accept(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            listen.tune(connection)
            peer = listen.peer_of(connection)
        except OSError:
            connection.close()
            return
        stream = TrioStream(self, self._nursery, connection, None, accepted=True)
        self.accepted(stream, peer)
        self._nursery.start_soon(stream.read)

    async def _connect(self, conn: ConnId, destination: Destination, scope: trio.CancelScope) -> None:
        try:
            with scope:
                connection, tls = await self._dial(destination)
        except (NotConnected, OSError, UnicodeError) as error:
            self._connecting.pop(conn, None)
            self.not_connected(conn, *why_not(error))
            return
        if self._connecting.pop(conn, None) is None:
            if not scope.cancelled_caught:
                connection.close()
            return
        connection.setblocking(False)
        listen.tune(connection)
        stream = TrioStream(self, self._nursery, connection, tls)
        self.upstream(conn, stream)
        stream.opened()
        await stream.read()

    async def _dial(self, destination: Destination) -> tuple[socket.socket, TlsPump | None]:
        """Race the host's addresses (RFC 8305) and take the socket that wins, unless there is more to it."""
        if not destination.plain:
            return await self._dialler.dial(destination)
        origin = destination.origin
        tls = self._trust.pump(origin)
        winner = await trio.open_tcp_stream(origin.host, origin.port)
        return _stdlib_socket(winner.socket), tls

    async def _work(self, job: Job) -> None:
        # A look at files may be left behind at the end; what writes must not be.
        reads_only = isinstance(job, LoadFiles)
        result = await trio.to_thread.run_sync(self._jobs.carry_out, job, abandon_on_cancel=reads_only)
        self.apply(self.gateway.completed(job.job, result, self.clock()))


@final
class TrioDialler(Dialler):
    """Looks names up and connects on trio."""

    async def look_up(self, host: str, port: int) -> Sequence[Found]:
        return await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def try_address(self, found: Found, seconds: float) -> "TrioLine | None":
        family, kind, protocol, _, address = found
        connection = trio.socket.socket(family, kind, protocol)
        try:
            with trio.move_on_after(seconds):
                await connection.connect(address)
                return TrioLine(connection)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None


@final
class TrioLine(Line):
    """A socket on trio."""

    def __init__(self, connection: trio.socket.SocketType) -> None:
        self._socket = connection

    async def receive(self) -> bytes:
        return await self._socket.recv(READ_SIZE)

    async def send(self, data: bytes) -> None:
        while data:
            data = data[await self._socket.send(data) :]

    def detach(self) -> socket.socket:
        return _stdlib_socket(self._socket)


def _stdlib_socket(connection: trio.socket.SocketType) -> socket.socket:
    return socket.socket(fileno=connection.detach())
