"""Something on a real socket that answers every HTTP request with the same bytes: whatever a router is taken for."""

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

from protocol.values import BaseUrl


class Site:
    """Answers each connection's first request with the same bytes, whatever it was. Use as a context manager."""

    def __init__(
        self, answer: bytes, *, path: str | None = None, tls: ssl.SSLContext | None = None, silent: bool = False
    ) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._tls = tls
        self._silent = silent
        self._over = threading.Event()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            scheme = "http" if tls is None else "https"
            self.base = BaseUrl.parse(f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/gate")
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        with socket.socket(self._listener.family) as last_caller:
            last_caller.connect(self._listener.getsockname())
            self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            plain, _ = self._listener.accept()
            with plain, suppress(OSError):  # the client gave up
                if not self._over.is_set():
                    self._speak(plain)

    def _speak(self, plain: socket.socket) -> None:
        if self._tls is None:
            self._answer_on(plain)
        else:
            with self._tls.wrap_socket(plain, server_side=True) as wrapped:
                self._answer_on(wrapped)

    def _answer_on(self, connection: socket.socket) -> None:
        got = connection.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        while len(body) < length and (more := connection.recv(65536)):
            body += more
        self.requests.append(head + b"\r\n\r\n" + body)
        if self._silent:
            self._over.wait()
        connection.sendall(self._answer)


def http_answer(status: int, body: bytes, *fields: bytes) -> bytes:
    head = b"".join(field + b"\r\n" for field in (b"content-length: %d" % len(body), *fields))
    return b"HTTP/1.1 %d Whatever\r\n%b\r\n%b" % (status, head, body)
