"""A server of OpenAI's API on a real socket that answers as it is told, for clients of the router's to meet."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """An answer: ``pieces`` are the writes of its body, which is cut after them unless it is ``whole``."""

    pieces: tuple[bytes, ...]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stream: bool = False
    whole: bool = True


def body(content: Json | bytes, status: int = 200, **headers: str) -> Told:
    """An answer of JSON; header names with underscores for dashes."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Told((data,), status, {name.replace("_", "-"): value for name, value in headers.items()})


def stream(pieces: Iterable[bytes], *, whole: bool = True) -> Told:
    """An event stream."""
    return Told(tuple(pieces), stream=True, whole=whole)


class OpenAIServer:
    """Use as a context manager. ``answers`` are told in turn; ``requests`` are what came, latest last."""

    def __init__(self) -> None:
        self.answers: deque[Told] = deque()
        self.requests: list[tuple[str, dict[str, str], Json]] = []
        """Path, header fields in lower case, JSON body."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

            def do_GET(self) -> None:
                self.answer({})

            def answer(self, asked: Json) -> None:
                fields = {name.lower(): value for name, value in self.headers.items()}
                server.requests.append((self.path, fields, asked))
                told = server.answers.popleft()
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                if told.stream:
                    self.send_header("content-type", "text/event-stream")
                    self.send_header("transfer-encoding", "chunked")
                else:
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(sum(map(len, told.pieces))))
                self.end_headers()
                for piece in told.pieces:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if told.stream else piece)
                if told.stream and told.whole:
                    self.wfile.write(b"0\r\n\r\n")
                self.close_connection = not told.whole

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
