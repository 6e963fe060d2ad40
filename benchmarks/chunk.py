"""What one relayed event and one request cost in the core alone: calls and memory blocks exactly, microseconds about.

The calls are counted by the interpreter, so they are the same on every machine; ``baseline.json`` holds the most that
are allowed, and a contract test compares. They depend a little on the Python version: from 3.12 on a comprehension is
no call any more, so the baseline is taken on 3.11.
"""

import gc
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from benchmarks.core import Core
from benchmarks.report import Result, Table

BASELINE: Final = Path(__file__).with_name("baseline.json")
REPEATS: Final = 200
"""How often a step is done while it is counted, to see that it costs the same each time."""
COUNTED_ROUNDS: Final = 14
"""By the last of them the interpreter's lists of free blocks have their full size, up to 2,000 tuples of a kind."""

BENCHMARKS: Final = str(Path(__file__).parent)
PROTOCOL: Final = str(Path(__file__).parents[1] / "protocol")


@dataclass(frozen=True)
class Calls:
    """Calls that one step makes: of functions in ``protocol``, of other Python functions, of functions in C."""

    protocol: float
    libraries: float
    builtin: float


@dataclass(frozen=True)
class Blocks:
    """Memory blocks of the interpreter's allocator: those in what a step returns, and those it leaves behind."""

    returned: float
    left: float


def measure(*, quick: bool) -> Result:
    core = Core()
    request_calls = count_calls(core.request)
    request_cost = microseconds(core.request, 50, rounds=12 if quick else 100)
    request_blocks = count_blocks(core.request)
    core.open_stream()
    event_calls = count_calls(core.event)
    event_cost = microseconds(core.event, 500, rounds=12 if quick else 100)
    event_blocks = count_blocks(core.event)
    core.close_stream()
    calls = Table(
        "Calls and memory of the core alone",
        ("step", "calls in protocol", "in libraries", "in C", "blocks returned", "blocks left", "us"),
        (
            _row("one relayed event", event_calls, event_blocks, event_cost),
            _row("one request, 1 KB each way", request_calls, request_blocks, request_cost),
        ),
        "Calls and blocks are exact; a request leaves nothing behind but what the next one replaces.",
    )
    return Result((calls,))


def count_calls(step: Callable[[], object]) -> Calls:
    """The average over ``REPEATS`` steps, which is a whole number where every step costs the same."""
    calls: Counter[str] = Counter()
    builtin = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal builtin
        if event == "call":
            calls[frame.f_code.co_filename] += 1
        elif event == "c_call":
            builtin += 1

    repeats = [None] * REPEATS
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        for _ in repeats:
            step()
    finally:
        sys.setprofile(before)
    protocol = sum(count for file, count in calls.items() if file.startswith(PROTOCOL))
    ours = sum(count for file, count in calls.items() if file.startswith(BENCHMARKS))
    libraries = sum(calls.values()) - protocol - ours
    return Calls(protocol / REPEATS, libraries / REPEATS, (builtin - 1) / REPEATS)  # the last one is setprofile itself


def count_blocks(step: Callable[[], object]) -> Blocks:
    """Blocks that the results of many steps hold, and blocks that remain once the results are dropped."""
    kept: list[object] = [None] * REPEATS
    held = left = 0
    gc.collect()
    gc.disable()
    try:
        for _ in range(COUNTED_ROUNDS):
            before = sys.getallocatedblocks()
            for at in range(REPEATS):
                kept[at] = step()
            held = sys.getallocatedblocks() - before
            for at in range(REPEATS):
                kept[at] = None
            left = sys.getallocatedblocks() - before
    finally:
        gc.enable()
    return Blocks(round((held - left) / REPEATS, 2), round(left / REPEATS, 2))


def microseconds(step: Callable[[], object], times: int, *, rounds: int) -> float:
    """CPU time of one step in the cheapest of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time_ns()
        for _ in range(times):
            step()
        best = min(best, (time.process_time_ns() - begin) / times)
    return best / 1000


def current_counts() -> dict[str, float]:
    """What the baseline holds: calls within ``protocol``, which no release of a library changes."""
    core = Core()
    request = count_calls(core.request)
    core.open_stream()
    event = count_calls(core.event)
    core.close_stream()
    return {"protocol_calls_per_event": event.protocol, "protocol_calls_per_request": request.protocol}


def read_baseline() -> dict[str, float]:
    counts: dict[str, float] = json.loads(BASELINE.read_text(encoding="utf-8"))["counts"]
    return counts


def write_baseline() -> None:
    document = {"interpreter": f"Python {platform.python_version()}", "counts": current_counts()}
    BASELINE.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _row(step: str, calls: Calls, blocks: Blocks, cost: float) -> tuple[str | float, ...]:
    return step, calls.protocol, calls.libraries, calls.builtin, blocks.returned, blocks.left, cost
