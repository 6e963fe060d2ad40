"""Processes of a measurement: started together, awaited one by one, ended with it, also when it fails or is killed."""

import ctypes
import os
import platform
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int]

ROOT: Final = Path(__file__).parents[1]
START_SECONDS: Final = 30.0
"""How long a process may take until it listens."""

_LISTENING: Final = re.compile(r"^(?:.*Listening on |http://)127\.0\.0\.1:(\d+)", re.MULTILINE)
_SET_PARENT_DEATH_SIGNAL: Final = 1


@dataclass(frozen=True)
class Starting:
    """A process that is about to listen on loopback; on ``port`` where that was told to it, else it tells its log."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int | None

    def address(self) -> Address:
        """Where it listens, once it does.

        :raises RuntimeError: it ended instead, or takes longer than ``START_SECONDS``.
        """
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            port = self._told_port() if self.port is None else self._open_port(self.port)
            if port is not None:
                return "127.0.0.1", port
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"{self.log.stem} does not listen: {self._text()[-2000:]}")

    def _told_port(self) -> int | None:
        found = _LISTENING.search(self._text())
        return int(found[1]) if found else None

    def _open_port(self, port: int) -> int | None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return None
        return port

    def _text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    folder: Path,
    settings: Mapping[str, str] | None = None,
    port: int | None = None,
) -> Iterator[Starting]:
    """A process in that folder; its output goes to a file there, as a service's would."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = spawn(command, folder, settings or {}, output.fileno())
    try:
        yield Starting(process, log, port)
    finally:
        stop(process)


def spawn(command: Sequence[str], folder: Path, settings: Mapping[str, str], output: int) -> "subprocess.Popen[bytes]":
    """Start a process that ends when this one does and inherits no setting but those given."""
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **settings}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        preexec_fn=_end_with_parent if platform.system() == "Linux" else None,  # there are no threads here
    )  # fmt: skip


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process at once: what it still has open is not of interest."""
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(timeout=10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
