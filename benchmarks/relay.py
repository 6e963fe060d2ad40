"""``python -m benchmarks.relay PORT``: the least that a relay can do on asyncio, as the measure for the router.

It moves bytes between two TCP connections and knows nothing else: no HTTP, no credentials, no time-outs, no log. Its
protocol callbacks write straight into the other transport, which is cheaper than asyncio's streams.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import cast, final


@final
class Pipe(asyncio.Protocol):
    """One end of a connection; what arrives here leaves at ``other``."""

    def __init__(self, other: "Pipe | None", upstream_port: int) -> None:
        self._other = other
        self._upstream_port = upstream_port
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._other is None:
            self._connecting = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        other = self._other
        if other is None or other._transport is None:
            self._early.append(data)
        else:
            other._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()

    async def _connect(self) -> None:
        upstream = Pipe(self, self._upstream_port)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: upstream, "127.0.0.1", self._upstream_port)
        self._other = upstream
        transport.writelines(self._early)
        self._early.clear()


async def serve(upstream_port: int) -> None:
    """Relay until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Pipe(None, upstream_port), "127.0.0.1", 0, backlog=1024)
    print(f"Listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if arguments.uvloop:
        import uvloop  # only where it is asked for

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(arguments.upstream_port))


if __name__ == "__main__":
    main()
