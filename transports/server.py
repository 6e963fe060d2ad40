"""What both servers share around their loops: this process's clock and entropy, and how a running server is handled."""

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocol.commands import Log, LogLevel
from protocol.config import Config, RefreshMode
from protocol.gateway import Gateway
from transports.listen import address_text
from transports.shell import Report

monotonic: Final = time.monotonic


def epoch() -> float:
    """The wall clock's lead over the monotonic one, in seconds."""
    return time.time() - time.monotonic()


def new_gateway(config: Config) -> Gateway:
    """A gateway on this machine's clock and entropy."""
    return Gateway(config, entropy=secrets.token_bytes, epoch=epoch())


def needs_tls(config: Config) -> bool:
    """Somebody may have to be asked over TLS: the upstream, or the endpoint that renews logins."""
    renews = config.oauth_refresh is not RefreshMode.OFF and config.oauth_token_url.origin.tls
    return renews or config.upstream_base_url.origin.tls


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens. ``drain`` gives running answers that many seconds; it may be called from any thread."""

    addresses: tuple[str, ...]
    drain: Callable[[float], None]


OnListening = Callable[[Running], None]


def report_listening(listeners: list[socket.socket], report: Report) -> tuple[str, ...]:
    """Log where the server listens, and return it."""
    addresses = tuple(address_text(listener) for listener in listeners)
    for address in addresses:
        report(Log(LogLevel.INFO, f"Listening on {address}", {}))
    return addresses
