"""A router with both of its sides in the test's hands, the same for every transport.

A test plays the client and the upstream itself, byte by byte and in order, so it reads as a transcript. The memory
stage does so without sockets; the other two drive a server that runs in a thread, over real ones.
"""

import importlib
import socket
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from protocol.commands import Log
from protocol.config import Config
from protocol.identity.tokens import issue
from protocol.values import Secret
from transports.memory import EPOCH, MemoryPeer, MemoryShell
from transports.server import Running, epoch, monotonic

TOKEN_SECRET: Final = "a test secret of more than 32 bytes"
OAUTH_TOKEN: Final = "sk-ant-oat01-the-operators-own"
CREDENTIALS: Final = b'{"accessToken": "%s"}' % OAUTH_TOKEN.encode()
PATIENCE: Final = 10.0
"""Seconds until a real socket that stays silent fails the test; never waited for in a passing one."""


class End(ABC):
    """The test's end of a connection to the router."""

    def __init__(self) -> None:
        self.received = bytearray()

    @abstractmethod
    def send(self, data: bytes) -> None: ...

    @abstractmethod
    def receive(self) -> bytes:
        """Some more bytes; b"" when the router ended, ConnectionResetError when it reset."""

    @abstractmethod
    def half_close(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def reset(self) -> None: ...

    def until(self, mark: bytes) -> bytes:
        """Everything up to and including ``mark``; what follows it stays for the next call."""
        while mark not in self.received:
            data = self.receive()
            assert data, f"ended before {mark!r}, after {self.received!r}"
            self.received += data
        return self._take(self.received.index(mark) + len(mark))

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self.received) < size:
            data = self.receive()
            assert data, f"ended before {size} bytes, after {self.received!r}"
            self.received += data
        return self._take(size)

    def rest(self) -> bytes:
        """Everything until the router ends the connection."""
        while data := self.receive():
            self.received += data
        return self._take(len(self.received))

    def head(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """A first line and its header fields, names in lower case."""
        lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines[1:]]
        return lines[0], [(name.lower(), value) for name, value in fields]

    def response(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """A response with a Content-Length: status, header fields, body."""
        line, fields = self.head()
        headers = dict(fields)
        return int(line.split(b" ")[1]), headers, self.exactly(int(headers[b"content-length"]))

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self.received)[:size])
        del self.received[:size]
        return taken


class Stage(ABC):
    """A running router. Use as a context manager."""

    transport: str

    def __init__(self, settings: dict[str, str], credentials: bytes = CREDENTIALS) -> None:
        self.settings = settings
        self.credentials = credentials
        self.logs: list[Log] = []

    @abstractmethod
    def client(self) -> End:
        """Connect to the router."""

    @abstractmethod
    def upstream(self) -> End:
        """Accept the router's next upstream connection."""

    @abstractmethod
    def no_upstream(self) -> bool:
        """Whether no further upstream connection is waiting to be accepted."""

    @abstractmethod
    def drain(self, grace: float) -> None: ...

    @abstractmethod
    def join(self) -> None:
        """The router has shut down by itself."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Let time pass: virtual where the clock is."""

    @abstractmethod
    def write_credentials(self, content: bytes) -> None:
        """Change the credential file."""

    @abstractmethod
    def wall(self) -> float: ...

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *exception: object) -> None: ...

    def token(self, ttl_hours: int = 1) -> bytes:
        """A token of this router."""
        secret = Secret(self.settings.get("TOKEN_SECRET", TOKEN_SECRET))
        issued = issue(secret, ttl_hours=ttl_hours, label="test", wall=self.wall(), entropy=lambda n: bytes(n))
        return issued.token.reveal().encode()

    def config(self, home: str, upstream_port: int) -> Config:
        values = {
            "TOKEN_SECRET": TOKEN_SECRET,
            "CLAUDE_CODE_HOME": home,
            "UPSTREAM_BASE_URL": f"http://127.0.0.1:{upstream_port}",
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_PORT": "0",
            **self.settings,
        }
        return Config.parse(values, home=home)


class MemoryEnd(End):
    def __init__(self, peer: MemoryPeer) -> None:
        super().__init__()
        self.peer = peer

    def send(self, data: bytes) -> None:
        self.peer.sends(data)

    def receive(self) -> bytes:
        data = self.peer.taken()
        if not data and self.peer.reset:
            raise ConnectionResetError
        assert data or self.peer.ended or self.peer.closed, f"nothing to read, after {self.received!r}"
        return data

    def half_close(self) -> None:
        self.peer.ends()

    def close(self) -> None:
        self.peer.ends()

    def reset(self) -> None:
        self.peer.breaks()


class MemoryStage(Stage):
    transport = "memory"
    shell: MemoryShell

    def client(self) -> MemoryEnd:
        assert self.shell.listening, "connection refused"
        return MemoryEnd(self.shell.client())

    def upstream(self) -> MemoryEnd:
        return MemoryEnd(self.shell.dialled.popleft())

    def no_upstream(self) -> bool:
        return not self.shell.dialled

    def drain(self, grace: float) -> None:
        self.shell.drain(grace)

    def join(self) -> None:
        assert self.shell.finished

    def wait(self, seconds: float) -> None:
        self.shell.advance(seconds)

    def write_credentials(self, content: bytes) -> None:
        self.shell.files["/home/credentials.json"] = content

    def wall(self) -> float:
        return EPOCH

    def __enter__(self) -> Self:
        self.shell = MemoryShell(self.config("/home", 1), {"/home/credentials.json": self.credentials})
        self.logs = self.shell.logs
        return self

    def __exit__(self, *exception: object) -> None:
        self.shell.drain(0)


class SocketEnd(End):
    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.socket = connection
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        return self.socket.recv(65536)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class SocketStage(Stage):
    """A server of one of the two loops, in a thread."""

    def __init__(self, transport: str, settings: dict[str, str], credentials: bytes = CREDENTIALS) -> None:
        super().__init__(settings, credentials)
        self.transport = transport
        self._ends: list[SocketEnd] = []
        self._draining = threading.Event()

    def client(self) -> SocketEnd:
        return self._kept(socket.create_connection(self._address, PATIENCE))

    def upstream(self) -> SocketEnd:
        return self._kept(self._listener.accept()[0])

    def no_upstream(self) -> bool:
        self._listener.settimeout(0.05)
        try:
            self._kept(self._listener.accept()[0])
        except TimeoutError:
            return True
        finally:
            self._listener.settimeout(PATIENCE)
        return False

    def drain(self, grace: float) -> None:
        self._running.drain(grace)
        assert self._draining.wait(PATIENCE)

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        raise AssertionError("real time is not waited for")

    def write_credentials(self, content: bytes) -> None:
        (self._home / "credentials.json").write_bytes(content)

    def wall(self) -> float:
        return epoch() + monotonic()

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        self._home = Path(self._directory.name)
        self.write_credentials(self.credentials)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        config = self.config(str(self._home), self._listener.getsockname()[1])
        run: Callable[..., int] = importlib.import_module(f"transports.{self.transport}").run
        listening = threading.Event()

        def on_listening(running: Running) -> None:
            self._running = running
            listening.set()

        self._thread = threading.Thread(target=run, args=(config, self._report), kwargs={"on_listening": on_listening})
        self._thread.start()
        assert listening.wait(PATIENCE)
        host, _, port = self._running.addresses[0].rpartition(":")
        self._address = (host.strip("[]"), int(port))
        return self

    def __exit__(self, *exception: object) -> None:
        for end in self._ends:
            end.close()
        self._running.drain(0)
        self._thread.join(PATIENCE)
        self._listener.close()
        self._directory.cleanup()
        assert not self._thread.is_alive(), "the server did not shut down"

    def _report(self, log: Log) -> None:
        self.logs.append(log)
        if log.event == "Shutting down":
            self._draining.set()

    def _kept(self, connection: socket.socket) -> SocketEnd:
        end = SocketEnd(connection)
        self._ends.append(end)
        return end


TRANSPORTS: Final = ("memory", "trio", "asyncio")


def open_stage(transport: str, settings: dict[str, str] | None = None, credentials: bytes = CREDENTIALS) -> Stage:
    """A stage for one of ``TRANSPORTS``; extra settings by their environment names."""
    if transport == "memory":
        return MemoryStage(settings or {}, credentials)
    return SocketStage(transport, settings or {}, credentials)
