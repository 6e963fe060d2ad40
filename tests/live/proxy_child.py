"""A forward proxy as a process of its own: ``python proxy_child.py URI [CERTIFICATE]``, with a URI of pproxy's.

The first line of its output is the port that it listens on; each connection it makes is another.
"""

import asyncio
import ssl
import sys

import pproxy


async def serve(uri: str, certificate: str | None) -> None:
    server = pproxy.Server(uri)
    if certificate is not None:
        server.sslserver = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.sslserver.load_cert_chain(certificate)
    # A login would else be remembered for an address, for a month.
    running = await server.start_server({"rserver": [], "verbose": tell, "authtime": -1})
    tell(str(running.sockets[0].getsockname()[1]))
    await asyncio.Event().wait()


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
