"""CPU of the router's process for event streams, against a bare relay that carries the same bytes in the same run.

Every event is a read and a write of its own, as with a model that thinks between tokens. In the first table one stream
runs at a time, so each event also wakes the process for itself; in the second, 32 run together and wakes are shared.
"""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks import machine, traffic
from benchmarks.client import Connection, connected_subjects, stream_one, stream_together
from benchmarks.report import Result, Table, Target, paired_ratio
from benchmarks.subjects import ASYNCIO, NGINX, RELAY, ROUTERS, TRIO, UVLOOP, UVLOOP_RELAY, Subject

SUBJECTS: Final = (RELAY, TRIO, ASYNCIO, UVLOOP_RELAY, UVLOOP, NGINX)
EVENTS: Final = 100
FEW_EVENTS: Final = 10
GAP_MS: Final = 2
TOGETHER: Final = 32
TOGETHER_GAP_MS: Final = 10
LIMIT_RATIO: Final = 1.5
LIMIT_TRANSLATED: Final = 2.0


@dataclass
class Rounds:
    """One subject's rounds: CPU microseconds for a stream and for each event of it, and how events came in reads."""

    stream: list[float] = field(default_factory=list)
    event: list[float] = field(default_factory=list)
    events_per_read: list[float] = field(default_factory=list)


def measure(*, quick: bool) -> Result:
    token = traffic.token()
    alone = _alone(token, rounds=1 if quick else 9)
    together = _together(token, events=20 if quick else EVENTS, rounds=1 if quick else 4)
    translated = _translated(token, rounds=1 if quick else 5)
    targets = tuple(
        Target(f"CPU of a {EVENTS}-event stream against the bare relay", name, ratio, LIMIT_RATIO, "times")
        for name, ratio in ((name, paired_ratio(seen.stream, alone[RELAY].stream)) for name, seen in alone.items())
        if name in ROUTERS
    )
    targets += tuple(
        Target(
            f"CPU of a translated {EVENTS}-event stream against a relayed one", name, ratio, LIMIT_TRANSLATED, "times"
        )
        for name, ratio in ((name, paired_ratio(chat, relayed)) for name, (relayed, chat) in translated.items())
    )
    return Result((_alone_table(alone), _together_table(together), _translated_table(translated)), targets)


def _alone(token: bytes, rounds: int) -> dict[str, Rounds]:
    many, few = _request(token, EVENTS, GAP_MS), _request(token, FEW_EVENTS, GAP_MS)
    with connected_subjects(SUBJECTS, 1) as lineup:
        seen = {subject.name: Rounds() for subject, _ in lineup}
        for _, (connection,) in lineup:
            stream_one(connection, few)
        for _ in range(rounds):
            for subject, (connection,) in lineup:
                long, events_per_read = _cost(subject, connection, many, 2)
                short, _ = _cost(subject, connection, few, 4)
                seen[subject.name].stream.append(long * 1e6)
                seen[subject.name].event.append((long - short) * 1e6 / (EVENTS - FEW_EVENTS))
                seen[subject.name].events_per_read.append(events_per_read)
    return seen


def _together(token: bytes, events: int, rounds: int) -> dict[str, list[float]]:
    """CPU microseconds for one stream of many, by subject and round."""
    request = _request(token, events, TOGETHER_GAP_MS)
    with connected_subjects(SUBJECTS, TOGETHER) as lineup:
        cost: dict[str, list[float]] = {subject.name: [] for subject, _ in lineup}
        for _, connections in lineup:
            stream_together(connections, _request(token, FEW_EVENTS, 1), spread=0.05)
        for _ in range(rounds):
            for subject, connections in lineup:
                before = machine.cpu_seconds(subject.pid)
                stream_together(connections, request, spread=events * TOGETHER_GAP_MS / 4000)
                spent = machine.settled_cpu_seconds(subject.pid) - before
                cost[subject.name].append(spent * 1e6 / TOGETHER)
    return cost


def _translated(token: bytes, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """CPU microseconds for a stream as it is, and for one translated to Chat Completions, by router and round."""
    relayed = _request(token, EVENTS, GAP_MS)
    chat = traffic.chat_request(token, deltas=EVENTS - traffic.EVENTS_AROUND, gap=GAP_MS)
    with connected_subjects((TRIO, ASYNCIO, UVLOOP), 1) as lineup:
        cost: dict[str, tuple[list[float], list[float]]] = {subject.name: ([], []) for subject, _ in lineup}
        for _ in range(rounds):
            for subject, (connection,) in lineup:
                for request, costs in zip((relayed, chat), cost[subject.name], strict=True):
                    costs.append(_cost(subject, connection, request, 2)[0] * 1e6)
    return cost


def _translated_table(cost: dict[str, tuple[list[float], list[float]]]) -> Table:
    rows = tuple((name, min(relayed), min(chat), paired_ratio(chat, relayed)) for name, (relayed, chat) in cost.items())
    title = f"One stream of {EVENTS} events, {GAP_MS} ms between them: relayed, and translated to Chat Completions"
    return Table(title, ("", "relayed CPU us, min", "translated CPU us, min", "ratio"), rows)


def _alone_table(seen: dict[str, Rounds]) -> Table:
    rows = tuple(
        (
            name, min(of.stream), median(of.stream), paired_ratio(of.stream, seen[RELAY].stream),
            min(of.event), median(of.event), median(of.events_per_read),
        )
        for name, of in seen.items()
    )  # fmt: skip
    columns = ("", "CPU us, min", "median", "ratio to relay", "us per event, min", "event, median", "events per read")
    title = f"One stream of {EVENTS} events after a request of 50 KB, {GAP_MS} ms between events"
    return Table(title, columns, rows, "A ratio compares what ran in the same round; the table has the median of them.")


def _together_table(cost: dict[str, list[float]]) -> Table:
    rows = tuple((name, min(costs), median(costs), paired_ratio(costs, cost[RELAY])) for name, costs in cost.items())
    title = f"{TOGETHER} such streams together, {TOGETHER_GAP_MS} ms between the events of each: CPU of one"
    return Table(title, ("", "CPU us, min", "median", "ratio to relay"), rows)


def _cost(subject: Subject, connection: Connection, request: bytes, times: int) -> tuple[float, float]:
    """CPU seconds of the subject for one stream, and how many events came with each read."""
    before = machine.cpu_seconds(subject.pid)
    answers = [stream_one(connection, request) for _ in range(times)]
    spent = machine.settled_cpu_seconds(subject.pid) - before
    return spent / times, median(answer.events_per_read for answer in answers)


def _request(token: bytes, events: int, gap: int) -> bytes:
    return traffic.stream_request(token, deltas=events - traffic.EVENTS_AROUND, gap=gap)
