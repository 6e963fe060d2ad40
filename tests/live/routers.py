"""Routers on real sockets: in a thread beside the test, or as a process of their own."""

import importlib
import json
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Self

from cli.practice import PRACTICE_TOKEN
from protocol.commands import Log
from protocol.config import Config
from protocol.identity.tokens import issue
from protocol.values import Secret
from tests.cli.support import SECRET, start
from transports.server import Running

LOOPS: Final = ("trio", "asyncio")

PATIENCE: Final = 10.0
"""Seconds until something that should happen at once fails the test."""

SESSION: Final = {
    "accessToken": PRACTICE_TOKEN,
    "refreshToken": "sk-ant-ort01-practice-refresh",
    "expiresAt": 4102444800000,
    "scopes": ["user:inference"],
    "subscriptionType": "max",
}
LOGIN: Final = json.dumps({"claudeAiOauth": SESSION})
"""A credential file as Claude Code writes it."""


def new_token(secret: str = SECRET, *, hours: float = 1, age: float = 0) -> str:
    """A token that was issued ``age`` seconds ago."""
    issued = issue(
        Secret(secret), ttl_hours=hours, label="live", wall=time.time() - age, entropy=lambda size: bytes(size)
    )
    return issued.token.reveal()


def make_home(folder: Path, login: str = LOGIN) -> Path:
    """A home directory in which somebody has logged in with Claude Code."""
    claude = folder / "home" / ".claude"
    claude.mkdir(parents=True)
    (claude / ".credentials.json").write_text(login)
    return folder / "home"


class RunningRouter:
    """A router in a thread. Use as a context manager; settings by their environment names.

    :param loop: which of ``LOOPS`` it runs on.
    :param upstream: base URL of the provider.
    """

    def __init__(self, loop: str, upstream: str, **settings: str) -> None:
        self.logs: list[Log] = []
        self._loop = loop
        self._settings = {
            "TOKEN_SECRET": SECRET,
            "UPSTREAM_BASE_URL": upstream,
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_PORT": "0",
            "OAUTH_REFRESH": "off",
            **settings,
        }
        self._listening = threading.Event()
        self._failure: BaseException | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as the log says it."""
        return self._running.addresses

    @property
    def origin(self) -> str:
        return f"http://{self.addresses[0]}"

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        config = Config.parse(self._settings, home=str(make_home(Path(self._directory.name))))
        self._thread = threading.Thread(target=self._run, args=[config], name=f"router-{self._loop}", daemon=True)
        self._thread.start()
        assert self._listening.wait(PATIENCE)
        if self._failure is not None:
            self._thread.join(PATIENCE)
            self._directory.cleanup()
            raise self._failure
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.drain(0)
        self._thread.join(PATIENCE)
        self._directory.cleanup()
        assert not self._thread.is_alive(), "the router did not shut down"
        assert self._failure is None

    def _run(self, config: Config) -> None:
        run: Callable[..., int] = importlib.import_module(f"transports.{self._loop}").run
        try:
            run(config, self.logs.append, on_listening=self._on_listening)
        except BaseException as error:
            self._failure = error
        finally:
            self._listening.set()

    def _on_listening(self, running: Running) -> None:
        self._running = running
        self._listening.set()


class RouterProcess:
    """``python -m transports.LOOP`` as a process, with all that it writes. Use as a context manager.

    :param folder: the process's own directory; its home lies in it.
    """

    def __init__(self, loop: str, folder: Path, upstream: str, **settings: str) -> None:
        self.lines: list[bytes] = []
        self._loop = loop
        self._folder = folder
        self._settings = {
            "TOKEN_SECRET": SECRET,
            "UPSTREAM_BASE_URL": upstream,
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_PORT": "0",
            "OAUTH_REFRESH": "off",
            **settings,
        }
        self._changed = threading.Condition()

    @property
    def output(self) -> bytes:
        """Everything it has written so far, on stdout and stderr."""
        with self._changed:
            return b"".join(self.lines)

    def said(self, words: bytes) -> bytes:
        """The first line with ``words`` in it, as soon as it is written."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(words in line for line in self.lines), PATIENCE), self.lines
            return next(line for line in self.lines if words in line)

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end of the process and of its output."""
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> Self:
        if not (self._folder / "home").exists():
            make_home(self._folder)
        self._process = start([], self._folder, self._settings, f"transports.{self._loop}")
        streams = (self._process.stdout, self._process.stderr)
        self._readers = [threading.Thread(target=self._read, args=[stream]) for stream in streams if stream is not None]
        for reader in self._readers:
            reader.start()
        try:
            said = self.said(b"Listening on ")
        except AssertionError:
            self.__exit__()
            raise
        self.address = said.split(b"Listening on ")[1].split(b'"')[0].strip().decode()
        self.origin = f"http://{self.address}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self.exit_code()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
