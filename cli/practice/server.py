"""``PracticeUpstream``: the practice provider on a socket, in a thread of its own."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from cli.practice.connection import Connection
from cli.practice.oauth import Logins
from cli.practice.provider import Provider
from cli.practice.records import Journal, Record

PRACTICE_TOKEN: Final = "sk-ant-oat01-practice-token-that-opens-nothing"
"""An OAuth access token for the practice upstream; the real provider knows nothing of it."""

PRACTICE_API_KEY: Final = "sk-ant-api03-practice-key-that-opens-nothing"
"""An API key for the practice upstream."""

BACKLOG: Final = 2048


class PracticeUpstream:
    """A local server that speaks the Anthropic Messages API without credentials or network.

    Use it as a context manager, or with ``start`` and ``stop``. Started again, it listens on the same port.

    :param host: a name or address to listen on, IPv4 or IPv6; of a name's addresses the first one counts.
    :param port: 0 takes a free one.
    :param ssl_context: serve HTTPS with it.
    :param credentials: the tokens and keys that are good; None takes any well-formed one.
    :param results_origin: what a batch's ``results_url`` begins with; by default the server's own origin.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
        credentials: Collection[str] | None = None,
        results_origin: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.orders: dict[str, str] = {}
        """Standing directives by credential, such as ``{PRACTICE_TOKEN: "error=529"}``; may be changed at any time."""
        self.logins = Logins()
        """OAuth sessions, and how its token endpoint behaves; survives a restart."""
        self._ssl_context = ssl_context
        self._credentials = credentials
        self._results_origin = results_origin
        self._journal = Journal()
        self._thread: Thread | None = None
        self._serving = Event()
        self._ask_to_stop: Callable[[], object]

    @property
    def origin(self) -> str:
        """Scheme, host and port, as a base URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._ssl_context else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> tuple[Record, ...]:
        """The latest requests, oldest first: at most 1,000, fewer when their bodies are large."""
        return self._journal.records

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return self._journal.open

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._journal.accepted

    def until(self, happened: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait for something to show in ``requests`` or ``connections``; whether it did within ``timeout`` seconds."""
        return self._journal.until(happened, timeout)

    def start(self) -> Self:
        """Listen and serve. Connections are accepted from the moment this returns.

        :raises OSError: the address cannot be had.
        """
        listener = _listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        self._serving.clear()
        self._thread = Thread(target=self._run, args=[listener], name="practice-upstream", daemon=True)
        self._thread.start()
        self._serving.wait()
        return self

    def stop(self) -> None:
        """Close the listener and every connection at once, and wait until that is done."""
        if self._thread is not None:
            self._ask_to_stop()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        finally:
            self._serving.set()  # whatever went wrong, start() must not wait for ever

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        self._ask_to_stop = lambda: loop.call_soon_threadsafe(stopping.set)
        provider = Provider(self._results_origin or self.origin, self._credentials, self.orders, self.logins)
        connections: set[Connection] = set()
        server = await loop.create_server(
            lambda: Connection(provider, self._journal, connections),
            sock=listener,
            ssl=self._ssl_context,
            backlog=BACKLOG,
        )
        self._serving.set()
        await stopping.wait()
        server.close()
        while connections:
            for connection in connections:
                connection.abort()
            await asyncio.sleep(0)


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)
