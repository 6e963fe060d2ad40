"""The gateway on trio, over plain non-blocking sockets."""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import trio

from protocol.config import Config
from protocol.identity.upstream_url import OriginGuard
from transports import listen
from transports.jobs import Jobs
from transports.server import OnListening, Reread, Running, new_gateway, new_trust, report_listening
from transports.shell import Report
from transports.trio.shell import TrioShell

__all__ = ["run", "serve"]


def run(
    config: Config, report: Report, *, on_listening: OnListening | None = None, reread: Reread | None = None
) -> int:
    """Serve until told to stop by SIGTERM or SIGINT (or ``Running.drain``); returns the process's exit code. SIGHUP has
    the settings read again.

    :raises OSError: the address cannot be listened on, or the CA file cannot be read.
    :raises CorruptFile: one of the router's own files cannot be understood.
    """
    trio.run(partial(serve, config, report, on_listening=on_listening, reread=reread))
    return 0


async def serve(
    config: Config, report: Report, *, on_listening: OnListening | None = None, reread: Reread | None = None
) -> None:
    """The same inside a running trio program; cancel it to stop at once. Signals are heard in the main thread only."""
    trust = new_trust(config)
    check = OriginGuard(config.allowed_provider_hosts).check_resolved
    jobs = Jobs(config)
    gateway = new_gateway(config)
    listeners = listen.open_listeners(config)
    try:
        async with trio.open_nursery() as nursery:
            shell = TrioShell(gateway, nursery, listeners, trust, jobs, report, check_address=check)
            nursery.start_soon(shell.keep_time)
            for listener in listeners:
                nursery.start_soon(shell.accept_from, listener)
            if threading.current_thread() is threading.main_thread():
                await nursery.start(_obey_signals, shell, config.drain_grace_secs)
                if reread is not None:
                    await nursery.start(_reload_on_hangup, shell, reread)
            shell.start()
            addresses = report_listening(listeners, report)
            if on_listening is not None:
                token = trio.lowlevel.current_trio_token()
                on_listening(Running(addresses, partial(_drain_soon, token, shell)))
            await shell.finished.wait()
            nursery.cancel_scope.cancel()
    finally:
        listen.close_all(listeners)
        jobs.close()


def _drain_soon(token: trio.lowlevel.TrioToken, shell: TrioShell, grace: float) -> None:
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(shell.drain, grace)


async def _obey_signals(
    shell: TrioShell, grace: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The first signal lets running answers finish within ``grace`` seconds, the second ends them."""
    signals: AsyncIterator[int]
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            shell.drain(grace)
            grace = 0.0


async def _reload_on_hangup(
    shell: TrioShell, reread: Reread, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    signals: AsyncIterator[int]
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            shell.reload(reread())
