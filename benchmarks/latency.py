"""What a client sees of live streams: the first byte, the gaps between events, and each event's time on the way.

Streams through each subject and streams straight from the upstream take turns in one run. Upstream and client read the
same clock, so the upstream writes into each event when it was sent.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from benchmarks import traffic
from benchmarks.client import Answer, Connection, connected_subjects, stream_one, stream_together
from benchmarks.report import Cell, Result, Table, Target, percentile
from benchmarks.subjects import ASYNCIO, DIRECT, NGINX, PRACTICE, RELAY, ROUTERS, TRIO, UVLOOP
from cli.practice import PRACTICE_API_KEY

SUBJECTS: Final = (DIRECT, TRIO, ASYNCIO, UVLOOP, RELAY, NGINX)
TOGETHER: Final = 32
PAUSE_SECONDS: Final = 1.2
"""Longer than the router takes its credential for fresh without a look at the file."""
LIMIT_MS: Final = 1.0
COLUMNS: Final = (
    "", "first byte ms, p50", "p99", "added, p50", "added, p99", "gap ms, p50", "gap, p99", "way ms, p50", "way, p99",
)  # fmt: skip
NOTE: Final = (
    "Added: the percentile less the direct connection's. Gap: from one event's arrival to the next one's.\n"
    "Way: from the upstream's send of an event to its arrival."
)


@dataclass
class Seen:
    """Everything noted of one subject's streams, in milliseconds."""

    first_bytes: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    ways: list[float] = field(default_factory=list)

    def add(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self.first_bytes.append(answer.first_byte_ms)
            self.gaps += answer.gaps_ms
            self.ways += answer.ways_ms


BySubject: TypeAlias = dict[str, Seen]


def measure(*, quick: bool) -> Result:
    token = traffic.token()
    alone = _alone(token, rounds=6 if quick else 100)
    after_pauses = _after_pauses(token, rounds=2 if quick else 12)
    together = _together(token, deltas=5 if quick else 15, rounds=1 if quick else 5)
    before_practice = _before_practice(token, rounds=3 if quick else 30)
    tables = (
        _table("One stream at a time, request of 50 KB, 2 ms between events", alone),
        _table(f"One stream at a time, each after a pause of {PAUSE_SECONDS:g} s", after_pauses),
        _table(f"{TOGETHER} streams together, begun within 0.2 s, 10 ms between the events of each", together),
        _table("Before the practice upstream, which checks each request; one stream at a time", before_practice),
    )
    targets = tuple(
        Target("added first byte, one connection, p50", name, _added(alone, name, 50), LIMIT_MS, "ms")
        for name in alone
        if name in ROUTERS
    )
    return Result(tables, targets)


def _alone(token: bytes, rounds: int) -> BySubject:
    request = traffic.stream_request(token, deltas=8, gap=2)
    with connected_subjects(SUBJECTS, 1) as lineup:
        return _take_turns([(one.name, connection, request) for one, (connection,) in lineup], rounds)


def _after_pauses(token: bytes, rounds: int) -> BySubject:
    """As in a dialogue: each request comes when nothing has happened for a while."""
    request = traffic.stream_request(token, deltas=2, gap=2)
    with connected_subjects(SUBJECTS, 1) as lineup:
        seen = {one.name: Seen() for one, _ in lineup}
        for _, (connection,) in lineup:
            stream_one(connection, request)
        for _ in range(rounds):
            time.sleep(PAUSE_SECONDS)
            for one, (connection,) in lineup:
                seen[one.name].add([stream_one(connection, request)])
    return seen


def _together(token: bytes, deltas: int, rounds: int) -> BySubject:
    request = traffic.stream_request(token, deltas=deltas, gap=10)
    with connected_subjects(SUBJECTS, TOGETHER) as lineup:
        seen = {one.name: Seen() for one, _ in lineup}
        for number in range(rounds + 1):
            for one, connections in lineup:
                answers = stream_together(connections, request, spread=0.2)
                if number:  # the first round opens the connections to the upstream
                    seen[one.name].add(answers)
    return seen


def _before_practice(token: bytes, rounds: int) -> BySubject:
    straight = traffic.stream_request(PRACTICE_API_KEY.encode(), deltas=5, gap=2)
    through = traffic.stream_request(token, deltas=5, gap=2)
    with connected_subjects((DIRECT, TRIO, ASYNCIO), 1, PRACTICE) as lineup:
        requests = [
            (one.name, connection, straight if one.name == DIRECT else through) for one, (connection,) in lineup
        ]
        return _take_turns(requests, rounds)


def _take_turns(lineup: Sequence[tuple[str, Connection, bytes]], rounds: int) -> BySubject:
    seen = {name: Seen() for name, _, _ in lineup}
    for _, connection, request in lineup:
        stream_one(connection, request)
    for _ in range(rounds):
        for name, connection, request in lineup:
            seen[name].add([stream_one(connection, request)])
    return seen


def _table(title: str, seen: BySubject) -> Table:
    return Table(title, COLUMNS, tuple(_row(seen, name) for name in seen), NOTE)


def _row(seen: BySubject, name: str) -> tuple[Cell, ...]:
    mine = seen[name]
    added = (None, None) if name == DIRECT else (_added(seen, name, 50), _added(seen, name, 99))
    both = [(percentile(values, 50), percentile(values, 99)) for values in (mine.first_bytes, mine.gaps)]
    way = (percentile(mine.ways, 50), percentile(mine.ways, 99)) if mine.ways else (None, None)
    return name, *both[0], *added, *both[1], *way


def _added(seen: BySubject, name: str, per_cent: int) -> float:
    return percentile(seen[name].first_bytes, per_cent) - percentile(seen[DIRECT].first_bytes, per_cent)
