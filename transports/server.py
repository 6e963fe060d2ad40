"""What both servers share around their loops: this process's clock and entropy, and how a running server is handled."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from protocol.commands import Log, LogLevel
from protocol.config import Config, RefreshMode
from protocol.files import FilesLoaded
from protocol.gateway import Gateway
from transports import disk
from transports.listen import address_text
from transports.shell import Report
from transports.tls import Trust
from transports.version import version

monotonic: Final = time.monotonic


def epoch() -> float:
    """The wall clock's lead over the monotonic one, in seconds."""
    return time.time() - time.monotonic()


def new_gateway(config: Config) -> Gateway:
    """A gateway on this machine's clock and entropy, with its own files read.

    :raises CorruptFile: one of them cannot be understood.
    """
    gateway = Gateway(config, entropy=secrets.token_bytes, epoch=epoch(), version=version(), environment=os.environ)
    opened = disk.load(gateway.store_paths, None)
    if isinstance(opened, FilesLoaded):
        gateway.opened(opened.files)
    return gateway


def new_trust(config: Config) -> Trust:
    """Whom upstreams and proxies are verified by, read at once where it will be needed; so are a proxy's libraries.

    :raises OSError: the CA file cannot be used.
    """
    trust = Trust(config.upstream_ca_file)
    proxies = [proxy for proxy in (config.https_proxy, config.http_proxy, config.all_proxy) if proxy is not None]
    renews = config.oauth_refresh is not RefreshMode.OFF and config.oauth_token_url.origin.tls
    if renews or config.upstream_base_url.origin.tls or any(proxy.scheme == "https" for proxy in proxies):
        trust.context()
    if proxies:
        import_module("transports.tunnel")  # at the first connection it would hold up all others
    return trust


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens. ``drain`` gives running answers that many seconds; it may be called from any thread."""

    addresses: tuple[str, ...]
    drain: Callable[[float], None]


Reread = Callable[[], Config | None]
"""Reads the settings again, on SIGHUP; None where that failed, which it has reported by itself."""

OnListening = Callable[[Running], None]


def report_listening(listeners: list[socket.socket], report: Report) -> tuple[str, ...]:
    """Log where the server listens, and return it."""
    addresses = tuple(address_text(listener) for listener in listeners)
    for address in addresses:
        report(Log(LogLevel.INFO, f"Listening on {address}", {}))
    return addresses
