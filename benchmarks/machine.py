"""The machine a measurement was made on, and what it tells about its processes."""

import os
import platform
import resource
import socket
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

PACKAGES: Final = ("h11", "msgspec", "trio", "uvloop")

LINUX: Final = platform.system() == "Linux"
SETTLE_SECONDS: Final = 0.01

_CLOCK_OF_PROCESS: Final = 2
"""The kernel's number for "CPU time by the scheduler's count" in a clock id made from a process id."""


def facts() -> dict[str, str | float]:
    """What a reader needs in order to compare figures: when, where, on what, and how busy it was."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "python_call_ns": round(call_nanoseconds(), 1),
        "loopback_us": round(loopback_microseconds(), 1),
        **{name: installed(name) for name in PACKAGES},
    }


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, user and system, all its threads.

    On Linux by the scheduler's clock, exact to the microsecond; elsewhere as coarse as the system reports it.
    """
    if LINUX:
        return time.clock_gettime((~pid << 3) | _CLOCK_OF_PROCESS)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def settled_cpu_seconds(pid: int) -> float:
    """The same a moment later, when what follows the last answer, such as its log line, is done too."""
    time.sleep(SETTLE_SECONDS)
    return cpu_seconds(pid)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    return int(psutil.Process(pid).memory_info().rss)


def allow_open_files(count: int) -> None:
    """Let this process and those that it starts from now on have so many files open.

    :raises RuntimeError: the system's hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RuntimeError(f"{count} open files are needed and {hard} allowed; see ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def call_nanoseconds() -> float:
    """CPU time of an empty Python call in a loop, the cheapest of some: how fast this machine is just now."""
    best = float("inf")
    for _ in range(20):
        begin = time.process_time_ns()
        for _ in range(10_000):
            _nothing()
        best = min(best, (time.process_time_ns() - begin) / 10_000)
    return best


def loopback_microseconds() -> float:
    """What the kernel takes for one small send and its receive on a loopback TCP connection, the cheapest of some."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            best = float("inf")
            for _ in range(20):
                begin = time.perf_counter()
                for _ in range(100):
                    client.send(b"x" * 100)
                    server.recv(200)
                best = min(best, (time.perf_counter() - begin) / 100)
    return best * 1e6


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _nothing() -> None:
    return
