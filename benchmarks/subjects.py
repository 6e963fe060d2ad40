"""What is measured, and what it is measured against: routers, bare relays, nginx, and the upstream behind them all."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.processes import Address, Starting, free_port, started
from benchmarks.traffic import TOKEN_SECRET
from cli.practice import PRACTICE_TOKEN

DIRECT: Final = "direct"
RELAY: Final = "bare relay"
UVLOOP_RELAY: Final = "bare relay, uvloop"
NGINX: Final = "nginx"
TRIO: Final = "trio"
ASYNCIO: Final = "asyncio"
UVLOOP: Final = "asyncio, uvloop"

WITHOUT_UVLOOP: Final = (
    "import sys; sys.modules['uvloop'] = None; from cli.root import main; main([], transport='asyncio')"
)
ROUTERS: Final[Mapping[str, Sequence[str]]] = {
    TRIO: (sys.executable, "-m", "transports.trio"),
    ASYNCIO: (sys.executable, "-c", WITHOUT_UVLOOP),
    UVLOOP: (sys.executable, "-m", "transports.asyncio"),
}
"""The command of each router."""
RELAYS: Final[Mapping[str, Sequence[str]]] = {RELAY: (), UVLOOP_RELAY: ("--uvloop",)}
"""The options of each bare relay."""

CANNED: Final = (sys.executable, "-m", "benchmarks.upstream")
PRACTICE: Final = (sys.executable, "-m", "cli.practice", "--port", "0")
"""The upstreams: one that costs next to nothing, one that behaves like the provider."""


@dataclass(frozen=True)
class Subject:
    """A process that requests are sent to; the upstream itself is one too."""

    name: str
    address: Address
    pid: int


@contextmanager
def lineup(names: Sequence[str], upstream: Sequence[str] = CANNED) -> Iterator[list[Subject]]:
    """The subjects of those names, in order, before one upstream; what is not installed is left out."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="router-benchmarks-")))
        behind = stack.enter_context(started(DIRECT, upstream, folder))
        origin = behind.address()
        starting = {
            name: behind if name == DIRECT else stack.enter_context(_started(name, origin, folder))
            for name in names
            if is_installed(name)
        }
        yield [Subject(name, one.address(), one.process.pid) for name, one in starting.items()]


def is_installed(name: str) -> bool:
    if name == NGINX:
        return _nginx_program() is not None
    return name not in (UVLOOP, UVLOOP_RELAY) or find_spec("uvloop") is not None


def router_settings(upstream: Address, folder: Path) -> dict[str, str]:
    """All defaults, access log included, but for where it listens and what it sends requests with."""
    credentials = folder / "credentials.json"
    if not credentials.exists():  # the routers of a lineup share it
        credentials.write_text(f'{{"accessToken": "{PRACTICE_TOKEN}"}}', encoding="utf-8")
    return {
        "TOKEN_SECRET": TOKEN_SECRET,
        "CLAUDE_CODE_HOME": str(folder),
        "DATA_DIR": str(folder / "data"),
        "UPSTREAM_BASE_URL": f"http://{upstream[0]}:{upstream[1]}",
        "ROUTER_HOST": "127.0.0.1",
        "ROUTER_PORT": "0",
    }


def _started(name: str, upstream: Address, folder: Path) -> AbstractContextManager[Starting]:
    if name == NGINX:
        return _started_nginx(upstream, folder)
    if name in RELAYS:
        return started(name, [sys.executable, "-m", "benchmarks.relay", str(upstream[1]), *RELAYS[name]], folder)
    return started(name, ROUTERS[name], folder, router_settings(upstream, folder))


NGINX_CONFIGURATION: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/nginx-access.log;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  client_max_body_size 64m;
  client_body_buffer_size 128k;
  keepalive_requests 10000000;
  upstream canned {{ server {host}:{port}; keepalive 64; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{own_port};
    location / {{
      proxy_pass http://canned;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""
"""A reverse proxy in one process that passes everything on at once and keeps an access log, as the router does."""


def _started_nginx(upstream: Address, folder: Path) -> AbstractContextManager[Starting]:
    own_port = free_port()
    text = NGINX_CONFIGURATION.format(folder=folder, host=upstream[0], port=upstream[1], own_port=own_port)
    configuration = folder / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    command = [_nginx_program() or NGINX, "-p", str(folder), "-c", str(configuration)]
    return started(NGINX, command, folder, port=own_port)


def _nginx_program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
