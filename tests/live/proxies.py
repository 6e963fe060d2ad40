"""A real forward proxy beside a router."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Final, Self

from tests.live.routers import PATIENCE

CHILD: Final = Path(__file__).with_name("proxy_child.py")
LOGIN: Final = "ada:hush%20hush"
"""As it stands in a URL."""


class ForwardProxy:
    """pproxy in a process, for HTTP and SOCKS5 on one port. Use as a context manager.

    :param login: user and password that it wants, with a colon in between.
    :param certificate: PEM file with a key and a certificate, to be spoken to over TLS.
    """

    def __init__(self, login: str | None = None, certificate: str | None = None) -> None:
        scheme = "http+socks5" if certificate is None else "http+socks5+ssl"
        self._arguments = [f"{scheme}://127.0.0.1:0/" + ("" if login is None else f"#{login}")]
        if certificate is not None:
            self._arguments.append(certificate)
        self._changed = threading.Condition()
        self._lines: list[str] = []

    @property
    def connections(self) -> list[str]:
        """What it connected so far: ``http 127.0.0.1:50000 -> 127.0.0.1:8080``, or why it did not."""
        with self._changed:
            return self._lines[1:]

    def said(self, words: str) -> str:
        """The first line with these words, as soon as it is written."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(words in line for line in self._lines), PATIENCE), self._lines
            return next(line for line in self._lines if words in line)

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), *self._arguments], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._lines, PATIENCE)
            self.port = int(self._lines[0])
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._reader.join(PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._changed:
                    self._lines.append(line.strip())
                    self._changed.notify_all()
