"""How long the router takes to listen, and what of it is loading modules."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import machine
from benchmarks.processes import spawn, stop
from benchmarks.report import Result, Table
from benchmarks.subjects import ROUTERS, is_installed, router_settings

IMPORTS: Final = {
    "the interpreter": "",
    "the core": "import protocol.gateway",
    "command line and trio": "import cli.root, cli.serve, transports.trio",
    "command line and asyncio, uvloop": "import cli.root, cli.serve, transports.asyncio",
}
NOWHERE: Final = ("127.0.0.1", 9)


def measure(*, quick: bool) -> Result:
    times = 1 if quick else 7
    with tempfile.TemporaryDirectory(prefix="router-benchmarks-") as name:
        folder = Path(name)
        imports = tuple(
            (what, *_best(_load(program, folder) for _ in range(times))) for what, program in IMPORTS.items()
        )
        starts = tuple(
            (router, *_best(_start(router, folder) for _ in range(times))) for router in ROUTERS if is_installed(router)
        )
    columns = ("", "CPU ms, min", "ms, min", "ms, median")
    return Result((Table("From start to listening", columns, starts), Table("Loading modules", columns, imports)))


def _best(samples: Iterable[tuple[float, float]]) -> tuple[float, float, float]:
    """Of seconds of CPU and seconds passed: the least of each, and the median of those passed, in milliseconds."""
    spent, passed = zip(*samples, strict=True)
    return min(spent) * 1000, min(passed) * 1000, median(passed) * 1000


def _load(program: str, folder: Path) -> tuple[float, float]:
    """A Python process that runs this program; the bytecode is cached by then, but for the first time ever."""
    begin = time.monotonic()
    process = spawn([sys.executable, "-c", program], folder, {}, subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program!r} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.monotonic() - begin


def _start(router: str, folder: Path) -> tuple[float, float]:
    """A router up to the log line that tells where it listens."""
    read_end, write_end = os.pipe()
    begin = time.monotonic()
    process = spawn(ROUTERS[router], folder, router_settings(NOWHERE, folder), write_end)
    os.close(write_end)
    try:
        with open(read_end, encoding="utf-8") as log:
            for line in log:
                if "Listening on" in line:
                    return machine.cpu_seconds(process.pid), time.monotonic() - begin
        raise RuntimeError(f"{router} ended before it listened")
    finally:
        stop(process)
