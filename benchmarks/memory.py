"""Memory of the router's process for each stream that is open and silent.

The streams are opened a few at a time: a burst of requests makes the process grow by their bodies, and that growth
would be counted although it is free for reuse.
"""

import time
from contextlib import ExitStack
from typing import Final

from benchmarks import machine, traffic
from benchmarks.client import connected, open_idle
from benchmarks.report import Result, Table, Target
from benchmarks.subjects import ASYNCIO, NGINX, RELAY, ROUTERS, TRIO, UVLOOP, Subject, lineup

SUBJECTS: Final = (TRIO, ASYNCIO, UVLOOP, RELAY, NGINX)
STREAMS: Final = 1000
AT_A_TIME: Final = 20
SETTLE_SECONDS: Final = 0.2
LIMIT_KIB: Final = 50.0
OPENED: Final = b"content_block_start"
"""What the last event says before the silence."""


def measure(*, quick: bool) -> Result:
    machine.allow_open_files(2 * STREAMS + 200)
    token = traffic.token()
    streams = 100 if quick else STREAMS
    with lineup(SUBJECTS) as subjects:
        rows = tuple(_row(subject, token, streams) for subject in subjects)
        targets = tuple(
            Target(f"memory of an idle stream, {streams} open", subject.name, row[1], LIMIT_KIB, "KiB")
            for subject, row in zip(subjects, rows, strict=True)
            if subject.name in ROUTERS
        )
    columns = ("", "KiB per stream", "MiB before", "MiB with all open", "MiB after")
    return Result((Table(f"{streams} streams opened by requests of 50 KB, then silent", columns, rows),), targets)


def _row(subject: Subject, token: bytes, streams: int) -> tuple[str, float, float, float, float]:
    request = traffic.stream_request(token, deltas=5, gap=0, stall=2)
    with connected(subject.address, AT_A_TIME) as connections:  # what is loaded and allocated once shall not count
        open_idle(connections, request, OPENED)
    time.sleep(SETTLE_SECONDS)
    before = machine.resident_bytes(subject.pid)
    with ExitStack() as stack:
        for _ in range(streams // AT_A_TIME):
            open_idle(stack.enter_context(connected(subject.address, AT_A_TIME)), request, OPENED)
        time.sleep(SETTLE_SECONDS)
        full = machine.resident_bytes(subject.pid)
    time.sleep(SETTLE_SECONDS)
    after = machine.resident_bytes(subject.pid)
    return subject.name, (full - before) / 1024 / streams, before / 2**20, full / 2**20, after / 2**20
