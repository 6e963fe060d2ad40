"""The gateway on asyncio (on uvloop where that is installed), as transport protocols."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType

from protocol.config import Config
from protocol.identity.upstream_url import OriginGuard
from transports import listen
from transports.asyncio.shell import AsyncioShell
from transports.jobs import Jobs
from transports.server import OnListening, Reread, Running, new_gateway, new_trust, report_listening
from transports.shell import Report

try:
    import uvloop as _uvloop
except ImportError:
    uvloop: ModuleType | None = None
else:
    uvloop = _uvloop

__all__ = ["run", "serve"]


def run(
    config: Config, report: Report, *, on_listening: OnListening | None = None, reread: Reread | None = None
) -> int:
    """Serve until told to stop by SIGTERM or SIGINT (or ``Running.drain``); returns the process's exit code. SIGHUP has
    the settings read again.

    :raises OSError: the address cannot be listened on, or the CA file cannot be read.
    :raises CorruptFile: one of the router's own files cannot be understood.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None if uvloop is None else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(config, report, on_listening=on_listening, reread=reread))
    return 0


async def serve(
    config: Config, report: Report, *, on_listening: OnListening | None = None, reread: Reread | None = None
) -> None:
    """The same inside a running event loop; cancel it to stop at once. Signals are heard in the main thread only."""
    trust = new_trust(config)
    check = OriginGuard(config.allowed_provider_hosts).check_resolved
    jobs = Jobs(config)
    gateway = new_gateway(config)
    listeners = listen.open_listeners(config)
    loop = asyncio.get_running_loop()
    shell = AsyncioShell(gateway, loop, listeners, trust, jobs, report, check_address=check)
    try:
        if threading.current_thread() is threading.main_thread():
            _obey_signals(loop, shell, config.drain_grace_secs)
            if reread is not None:
                loop.add_signal_handler(signal.SIGHUP, lambda: shell.reload(reread()))
        await shell.listen()
        shell.start()
        addresses = report_listening(listeners, report)
        if on_listening is not None:
            on_listening(Running(addresses, partial(_drain_soon, loop, shell)))
        await shell.finished.wait()
    finally:
        shell.close()
        listen.close_all(listeners)
        jobs.close()


def _obey_signals(loop: asyncio.AbstractEventLoop, shell: AsyncioShell, grace: float) -> None:
    """The first signal lets running answers finish within ``grace`` seconds, the second ends them."""
    remaining = [0.0, grace]

    def obey() -> None:
        shell.drain(remaining.pop() if len(remaining) > 1 else 0.0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, obey)


def _drain_soon(loop: asyncio.AbstractEventLoop, shell: AsyncioShell, grace: float) -> None:
    with suppress(RuntimeError):  # the loop is closed: there is nothing left to drain
        loop.call_soon_threadsafe(shell.drain, grace)
