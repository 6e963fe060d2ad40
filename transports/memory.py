"""The third shell: no sockets, no loop, a clock that moves when told. For tests, examples and benchmarks.

Both ends of every connection are in the caller's hands: ``client`` connects to the router, ``dialled`` are the
connections the router made, each as the peer that the router talks to.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, assert_never, final

from protocol.commands import AppendFile, Command, Job, JobResult, LoadFiles, Log, Loss, UpdateFiles, WorkOnLogin
from protocol.config import Config
from protocol.egress import Destination
from protocol.files import CorruptFile, FileContent, FilesLoaded, FilesUnchanged, Missing, UpdateFailed
from protocol.gateway import Gateway
from protocol.identity.login_file import NotMergeable, merge_login, recovery_content, recovery_path
from protocol.login_jobs import (
    FileResult,
    FileWork,
    LockBusy,
    LockLogin,
    LoginRead,
    LoginSaved,
    Place,
    ReadLogin,
    SaveLogin,
    Superseded,
    Unlocked,
    UnlockLogin,
)
from protocol.values import ConnId, Origin, Peer, PeerKind
from transports.shell import Shell, Stream

EPOCH: Final = 1_710_806_400.0
"""Where the wall clock of a memory shell starts, in seconds."""
LOCAL: Final = Peer(PeerKind.LOOPBACK, "memory")


def counting_entropy() -> Callable[[int], bytes]:
    """Bytes that are the same in every run, and never repeat where there are enough of them at a time."""
    numbers = count(1)
    return lambda size: (next(numbers) % 256**size).to_bytes(size, "big")


@final
class MemoryPeer:
    """The far end of one of the router's connections.

    ``inbox`` holds what the router sent, ``ended`` says that it ended its sending side, ``closed`` that it closed the
    connection, ``reset`` that it did so abruptly. ``window`` is how many more bytes this peer takes, None for any
    number.
    """

    def __init__(self, shell: "MemoryShell", stream: "MemoryStream", destination: Destination | None = None) -> None:
        self.destination = destination
        self.inbox = bytearray()
        self.ended = False
        self.closed = False
        self.reset = False
        self.paused = False
        self.window: int | None = None
        self._shell = shell
        self._stream = stream
        self._untaken: deque[bytes | None] = deque()

    @property
    def origin(self) -> Origin | None:
        """Where the router wanted to go; None for a client."""
        return None if self.destination is None else self.destination.origin

    @property
    def conn(self) -> ConnId:
        """What the core calls this connection."""
        return self._stream.conn

    def sends(self, data: bytes) -> None:
        """Bytes for the router; while it has paused the connection they wait, as in a socket."""
        if self.paused or self._untaken:
            self._untaken.append(data)
        elif not self.closed:
            self._stream.arrived(data)

    def ends(self) -> None:
        """End this side."""
        if self.paused or self._untaken:
            self._untaken.append(None)
        elif not self.closed:
            self._stream.arrived_eof()

    def breaks(self, reason: Loss = Loss.RESET) -> None:
        """The connection is torn."""
        if not self.closed:
            self.closed = True
            self._stream.broke(reason, "")

    def takes(self, amount: int | None) -> None:
        """Read so many more bytes of what the router wants to send; None for all there is and will be."""
        self.window = None if amount is None else (self.window or 0) + amount
        self._stream.drain()
        self._shell.tell_now()

    def taken(self) -> bytes:
        """What the router sent since the last call."""
        data = bytes(self.inbox)
        self.inbox.clear()
        return data

    @property
    def untaken(self) -> int:
        """Bytes sent to the router that it has not read."""
        return sum(len(data) for data in self._untaken if data is not None)

    def resumed(self) -> None:
        """The router reads again: it gets what waited, after the commands under way."""
        self.paused = False
        self._shell.tell_later(self._deliver)

    def _deliver(self) -> list[Command]:
        if self.paused or self.closed or not self._untaken:
            return []
        data = self._untaken.popleft()
        if self._untaken:
            self._shell.tell_later(self._deliver)
        gateway, conn, now = self._shell.gateway, self._stream.conn, self._shell.now
        return gateway.received_eof(conn, now) if data is None else gateway.received(conn, data, now)


@final
class MemoryStream(Stream):
    """The router's end."""

    def __init__(self, shell: "MemoryShell", destination: Destination | None = None) -> None:
        super().__init__(shell)
        self.peer = MemoryPeer(shell, self, destination)
        self._pending = bytearray()
        self._finishing = False
        self._eof_wanted = False

    def send(self, data: bytes) -> None:
        self._pending += data
        self.drain()

    @property
    def unsent(self) -> bool:
        return len(self._pending) > 0

    def send_eof(self) -> None:
        self._eof_wanted = True
        self.drain()

    def finish(self, *, reset: bool) -> None:
        self._finishing = True
        if reset:
            self._pending.clear()
            self.peer.reset = True
        self.drain()

    def pause(self) -> None:
        self.peer.paused = True

    def resume(self) -> None:
        self.peer.resumed()

    def drain(self) -> None:
        """Move what the peer takes."""
        peer = self.peer
        size = len(self._pending) if peer.window is None else min(peer.window, len(self._pending))
        peer.inbox += self._pending[:size]
        del self._pending[:size]
        if peer.window is not None:
            peer.window -= size
        self.backlog(len(self._pending))
        if not self._pending:
            peer.ended = peer.ended or self._eof_wanted or self._finishing
            peer.closed = peer.closed or self._finishing
            self.sent_all()


@final
class MemoryDisk:
    """Files in a dictionary, which nobody else writes while a piece of work is done."""

    def __init__(self, files: dict[str, FileContent], data_dir: str) -> None:
        self.locked: set[str] = set()
        """Credential files whose lock is held, by the router or by a test."""
        self.read_only: set[str] = set()
        """Files that cannot be written."""
        self._files = files
        self._data_dir = data_dir

    def carry_out(self, job: Job) -> JobResult:
        match job:
            case LoadFiles():
                found = self._found(job.paths)
                fingerprint = tuple(found)
                return FilesUnchanged() if fingerprint == job.fingerprint else FilesLoaded(found, fingerprint)
            case UpdateFiles():
                return self._update(job)
            case AppendFile():
                if job.path in self.read_only:
                    return self._refused(job.path)
                before = self._files.get(job.path, b"")
                self._files[job.path] = (before if isinstance(before, bytes) else b"") + job.data
                return None
            case WorkOnLogin():
                return self._work_on_login(job.work)
            case _:
                assert_never(job)

    def _found(self, paths: Sequence[str]) -> list[tuple[str, FileContent]]:
        return [(path, self._files.get(path, Missing())) for path in paths]

    def _update(self, job: UpdateFiles) -> JobResult:
        for path in job.paths:
            if path in self.read_only:
                return self._refused(path)
        try:
            self._files.update(job.update(self._found(job.paths)))
        except CorruptFile as error:
            return UpdateFailed(str(error))
        found = self._found(job.paths)
        return FilesLoaded(found, tuple(found))

    def _refused(self, path: str) -> UpdateFailed:
        return UpdateFailed(f"{path} cannot be written: Read-only file system")

    def _work_on_login(self, work: FileWork) -> FileResult:
        content = self._files.get(work.path, Missing())
        match work:
            case LockLogin():
                if work.path in self.locked:
                    return LockBusy()
                self.locked.add(work.path)
                return self._read(work.path)
            case ReadLogin():
                return self._read(work.path)
            case SaveLogin():
                try:
                    merged = merge_login(content, work.replaced, work.renewed)
                except NotMergeable as error:
                    return self._save_copy(work, str(error))
                if work.path in self.read_only:
                    return self._save_copy(work, "Read-only file system")
                if merged is None:
                    return Superseded(content)
                self._files[work.path] = merged
                return LoginSaved(Place.FILE)
            case UnlockLogin():
                self.locked.discard(work.path)
                return Unlocked()
            case _:
                assert_never(work)

    def _save_copy(self, work: SaveLogin, why: str) -> FileResult:
        self._files[recovery_path(self._data_dir, work.path)] = recovery_content(work.renewed)
        return LoginSaved(Place.RECOVERY, why)

    def _read(self, path: str) -> LoginRead:
        copy = recovery_path(self._data_dir, path)
        return LoginRead(self._files.get(path, Missing()), self._files.get(copy, Missing()))


@final
class MemoryShell(Shell):
    """A whole router in memory.

    The attributes say how the world around the router behaves, and may be changed at any time: ``files`` is what the
    credential files hold, by path; ``connect_fails`` and ``connect_hangs`` are about upstream connections,
    ``disk_hangs`` is about the files.

    :param beside: another router, whose disk is this one's too; ``files`` do not count then.
    :param watch: is shown every command before it is carried out.
    """

    def __init__(
        self,
        config: Config,
        files: Mapping[str, FileContent] | None = None,
        *,
        beside: "MemoryShell | None" = None,
        watch: Callable[["MemoryShell", Command], None] | None = None,
    ) -> None:
        self.now = 1000.0
        self.logs: list[Log] = []
        self.files: dict[str, FileContent] = dict(files or {}) if beside is None else beside.files
        self.dialled: deque[MemoryPeer] = deque()
        self.connect_fails: Loss | None = None
        self.connect_hangs = False
        self.connecting: dict[ConnId, Destination] = {}
        self.disk_hangs = False
        self.listening = True
        self.finished = False
        self.wake_at: float | None = None
        self._undone: deque[Job] = deque()
        self.disk = MemoryDisk(self.files, config.data_dir)
        gateway = Gateway(config, entropy=counting_entropy(), epoch=EPOCH - self.now)
        gateway.opened([(path, self.files.get(path, Missing())) for path in gateway.store_paths])
        super().__init__(gateway, clock=lambda: self.now, report=self.logs.append)
        if watch is not None:
            self._show_commands_to(watch)
        self.start()

    def client(self, peer: Peer = LOCAL) -> MemoryPeer:
        """Connect to the router."""
        stream = MemoryStream(self)
        self.accepted(stream, peer)
        return stream.peer

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while self.wake_at is not None and self.wake_at <= until:
            self.now, self.wake_at = max(self.now, self.wake_at), None
            self.tick()
        self.now = until

    def connects(self) -> None:
        """The connections that hung are made now."""
        self.connect_hangs = False
        for conn in list(self.connecting):
            self._connected(conn)
        self.tell_now()

    def reads(self) -> None:
        """The disk that hung answers now, with what the files hold now."""
        self.disk_hangs = False
        while self._undone:
            self.work(self._undone.popleft())
        self.tell_now()

    def connect(self, conn: ConnId, destination: Destination) -> None:
        self.connecting[conn] = destination
        if self.connect_fails is not None:
            self.tell_later(partial(self._fail, conn, self.connect_fails))
        elif not self.connect_hangs:
            self._connected(conn)

    def abandon_connect(self, conn: ConnId) -> None:
        self.connecting.pop(conn, None)

    def work(self, job: Job) -> None:
        if self.disk_hangs:
            self._undone.append(job)
        else:
            result = self.disk.carry_out(job)
            self.tell_later(lambda: self.gateway.completed(job.job, result, self.now))

    def rearm(self, deadline: float | None) -> None:
        self.wake_at = deadline

    def stop_listening(self) -> None:
        self.listening = False

    def drained(self) -> None:
        self.finished = True

    def sync_clock(self) -> None:
        """The wall clock runs as the monotonic one does."""

    def _connected(self, conn: ConnId) -> None:
        stream = MemoryStream(self, self.connecting.pop(conn))
        self.upstream(conn, stream)
        self.dialled.append(stream.peer)
        self.tell_later(lambda: self.gateway.connected(conn, self.now))

    def _fail(self, conn: ConnId, reason: Loss) -> list[Command]:
        if self.connecting.pop(conn, None) is None:
            return []
        return self.gateway.lost(conn, reason, self.now)

    def _show_commands_to(self, watch: Callable[["MemoryShell", Command], None]) -> None:
        def watched(carry_out: Callable[[Any], None], command: Command) -> None:
            watch(self, command)
            carry_out(command)

        self._handlers = {kind: partial(watched, carry_out) for kind, carry_out in self._handlers.items()}
