"""The half of a shell that needs no event loop: carries out commands, turns what happens on streams into facts.

A loop adds streams (``Stream``) and a few verbs (``Shell``). ``apply`` never waits: between a call into the core and
the last of its commands nothing else runs. Facts that arise meanwhile are queued and told afterwards.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from protocol.commands import (
    AppendFile,
    Close,
    Command,
    Connect,
    Drained,
    Job,
    LoadFiles,
    Log,
    LogLevel,
    Loss,
    Pause,
    Resume,
    ShutdownWrite,
    StopListening,
    UpdateFiles,
    WorkOnLogin,
    Write,
)
from protocol.config import Config
from protocol.egress import Destination
from protocol.gateway import Gateway
from protocol.links.link import HIGH_WATER, LOW_WATER
from protocol.values import ConnId, Peer
from transports.tls import TlsPump

READ_SIZE: Final = 64 * 1024
"""Most bytes taken from a socket at once."""

CLOSE_SECONDS: Final = 30.0
"""How long a peer may take for the last bytes after the core has closed a connection."""

Clock = Callable[[], float]
Report = Callable[[Log], None]


class Stream(ABC):
    """One connection of an event loop. The loop's part is below the line in each subclass; the facts are told here."""

    __slots__ = ("_accepted", "_backlogged", "_closing", "_gateway", "_shell", "_tls", "conn")

    def __init__(self, shell: "Shell", tls: TlsPump | None = None, *, accepted: bool = False) -> None:
        self.conn = ConnId(0)
        self._accepted = accepted
        self._shell = shell
        self._gateway = shell.gateway
        self._tls = tls
        self._closing = False
        self._backlogged = False

    # Orders --------------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send now or as soon as possible."""
        tls = self._tls
        self.send(data if tls is None else tls.encrypt(data))

    def close(self, *, reset: bool) -> None:
        """Send what is buffered, then close; tell nothing more."""
        self._closing = True
        if self._tls is not None and not reset:
            self.send(self._tls.close())
        self.finish(reset=reset)
        if self.unsent:
            self._shell.unsent.add(self)

    def sent_all(self) -> None:
        """For subclasses: nothing is buffered any more, or never will be sent."""
        if self in self._shell.unsent:
            self._shell.unsent.discard(self)
            self._shell.settle()

    @property
    @abstractmethod
    def unsent(self) -> bool:
        """Whether bytes are still buffered."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Put bytes on the wire, buffering what the socket does not take."""

    @abstractmethod
    def send_eof(self) -> None: ...

    @abstractmethod
    def finish(self, *, reset: bool) -> None: ...

    @abstractmethod
    def pause(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...

    # Facts ---------------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """An upstream connection stands; with TLS the handshake begins."""
        if self._tls is None or self._tls.ready:
            self._tell_connected()
        else:
            self.send(self._tls.start())

    def arrived(self, data: bytes) -> None:
        """Bytes were read."""
        if self._closing:
            return
        if self._tls is None:
            shell = self._shell
            if self._accepted:
                shell.sync_clock()
            shell.apply(self._gateway.received(self.conn, data, shell.clock()))
        else:
            self._arrived_encrypted(self._tls, data)

    def arrived_eof(self) -> None:
        """The peer ended its side."""
        if self._closing:
            return
        if self._tls is not None and not self._tls.ended:
            self.broke(Loss.RESET, "TLS connection cut short")
        elif self._tls is None:
            self._shell.apply(self._gateway.received_eof(self.conn, self._shell.clock()))

    def broke(self, reason: Loss, detail: str) -> None:
        """The connection is gone, or never came to be."""
        self._shell.apply(self.lost(reason, detail))

    def backlog(self, pending: int) -> None:
        """So many bytes are buffered now; crossing a watermark is told to the core, after the commands under way."""
        if self._closing:
            return
        if pending > HIGH_WATER if not self._backlogged else pending <= LOW_WATER:
            self._backlogged = not self._backlogged
            self._shell.tell_later(lambda: self._gateway.flushed(self.conn, pending, self._shell.clock()))

    def lost(self, reason: Loss, detail: str) -> list[Command]:
        """``broke`` as a fact to tell later, for a stream that finds out while commands are carried out."""
        if self._closing:
            return []
        self._closing = True
        self.finish(reset=self.unsent)
        self._shell.forget(self.conn)
        return self._gateway.lost(self.conn, reason, self._shell.clock(), detail)

    def _tell_connected(self) -> None:
        self._shell.apply(self._gateway.connected(self.conn, self._shell.clock()))

    def _arrived_encrypted(self, tls: TlsPump, data: bytes) -> None:
        was_ready = tls.ready
        try:
            plain = tls.decrypt(data)
        except TlsPump.Failure as failure:
            self.send(tls.take_output())  # the alert, as far as it goes out at once
            self.broke(Loss.TLS, str(failure))
            return
        output = tls.take_output()
        if output:
            self.send(output)
        if tls.ready and not was_ready:
            self._tell_connected()
        if plain and not self._closing:
            self._shell.apply(self._gateway.received(self.conn, plain, self._shell.clock()))
        if tls.ended and not self._closing:
            self._shell.apply(self._gateway.received_eof(self.conn, self._shell.clock()))


class Shell(ABC):
    """Commands in, effects out. ``clock`` is monotonic seconds, ``report`` takes log records."""

    def __init__(self, gateway: Gateway, *, clock: Clock, report: Report) -> None:
        self.gateway = gateway
        self.clock = clock
        self.streams: dict[ConnId, Stream] = {}
        self.unsent: set[Stream] = set()
        """Streams that the core has closed and whose last bytes are still on their way out."""
        self._core_done = False
        self._hurried = False
        self._report = report
        self._facts: deque[Callable[[], list[Command]]] = deque()
        self._deadline: float | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Write: self._write,
            Close: self._close,
            ShutdownWrite: self._shutdown_write,
            Pause: self._pause,
            Resume: self._resume,
            Connect: lambda command: self.connect(command.conn, command.destination),
            LoadFiles: self.work,
            UpdateFiles: self.work,
            AppendFile: self.work,
            WorkOnLogin: self.work,
            Log: report,
            StopListening: lambda _: self.stop_listening(),
            Drained: self._drained,
        }

    # What a loop adds ----------------------------------------------------------------------------------------------

    @abstractmethod
    def connect(self, conn: ConnId, destination: Destination) -> None:
        """Start connecting; the stream is entered with ``upstream`` and tells ``opened`` or ``broke``."""

    @abstractmethod
    def abandon_connect(self, conn: ConnId) -> None:
        """A connection that is still being made is not wanted any more."""

    @abstractmethod
    def work(self, job: Job) -> None:
        """Have it carried out off the loop, and its result told."""

    @abstractmethod
    def rearm(self, deadline: float | None) -> None:
        """Have ``tick`` called at ``deadline``."""

    @abstractmethod
    def stop_listening(self) -> None: ...

    @abstractmethod
    def drained(self) -> None:
        """Everything has ended and every last byte is out: leave the loop."""

    @abstractmethod
    def sync_clock(self) -> None:
        """Tell the core what the wall clock says, cheaply: it may have jumped since the last request."""

    # What a loop calls ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.apply(self.gateway.started(self.clock()))

    def accepted(self, stream: Stream, peer: Peer) -> None:
        """A client connected."""
        self.sync_clock()
        conn, commands = self.gateway.accepted(peer, self.clock())
        stream.conn = conn
        self.streams[conn] = stream
        self.apply(commands)

    def upstream(self, conn: ConnId, stream: Stream) -> None:
        """A connection asked for by ``connect`` has a stream now."""
        stream.conn = conn
        self.streams[conn] = stream

    def not_connected(self, conn: ConnId, reason: Loss, detail: str) -> None:
        """A connection asked for by ``connect`` could not be made."""
        self.apply(self.gateway.lost(conn, reason, self.clock(), detail))

    def tick(self) -> None:
        """The deadline has come."""
        self._deadline = None
        self.sync_clock()
        self.apply(self.gateway.timed_out(self.clock()))

    def drain(self, grace: float) -> None:
        """Shut down within ``grace`` seconds; with none left, without waiting for slow readers either."""
        self._hurried = grace <= 0
        self.apply(self.gateway.drain(grace, self.clock()))
        self.settle()

    def reload(self, config: Config | None) -> None:
        """Go on with other settings; None for some that could not be read."""
        if config is not None:
            self.apply(self.gateway.reconfigured(config, self.clock()))

    def forget(self, conn: ConnId) -> None:
        self.streams.pop(conn, None)

    def tell_later(self, fact: Callable[[], list[Command]]) -> None:
        """For facts that arise while commands are carried out."""
        self._facts.append(fact)

    def tell_now(self) -> None:
        """For streams outside of ``apply``: tell what was queued."""
        if self._facts:
            self.apply(())

    def apply(self, commands: Sequence[Command]) -> None:
        """Carry out commands in order, without ever waiting."""
        for command in commands:
            self._carry_out(command)
        while self._facts:
            for command in self._facts.popleft()():
                self._carry_out(command)
        deadline = self.gateway.deadline()
        if deadline != self._deadline:
            self._deadline = deadline
            self.rearm(deadline)

    def settle(self) -> None:
        """Leave once the core is done and nothing is buffered, or nobody has the time to wait for that."""
        if self._core_done and (self._hurried or not self.unsent):
            self._core_done = False
            self.drained()

    def _carry_out(self, command: Command) -> None:
        """One connection's trouble must not keep the others' commands from being carried out."""
        try:
            self._handlers[type(command)](command)
        except Exception as error:
            conn = getattr(command, "conn", ConnId(0))
            # Only what kind of error: its text may quote what was to be sent.
            fields = {"command": type(command).__name__, "type": type(error).__name__}
            self._report(Log(LogLevel.ERROR, "a command could not be carried out", fields))
            stream = self.streams.get(conn)
            if stream is not None:
                self.tell_later(partial(stream.lost, Loss.FAILED, type(error).__name__))

    def _drained(self, _: Drained) -> None:
        self._core_done = True
        self.settle()

    def _write(self, command: Write) -> None:
        stream = self.streams.get(command.conn)
        if stream is not None:
            stream.write(command.data)

    def _close(self, command: Close) -> None:
        stream = self.streams.pop(command.conn, None)
        if stream is None:
            self.abandon_connect(command.conn)
        else:
            stream.close(reset=command.reset)

    def _shutdown_write(self, command: ShutdownWrite) -> None:
        stream = self.streams.get(command.conn)
        if stream is not None:
            stream.send_eof()

    def _pause(self, command: Pause) -> None:
        stream = self.streams.get(command.conn)
        if stream is not None:
            stream.pause()

    def _resume(self, command: Resume) -> None:
        stream = self.streams.get(command.conn)
        if stream is not None:
            stream.resume()
