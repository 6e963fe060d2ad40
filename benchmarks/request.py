"""CPU of the router's process for one whole request: kept-alive connections that ask again as soon as they can."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks import machine, traffic
from benchmarks.client import Connection, ask_in_turn, connected_subjects
from benchmarks.report import Result, Table, Target
from benchmarks.subjects import ASYNCIO, NGINX, RELAY, ROUTERS, TRIO, UVLOOP, Subject

SUBJECTS: Final = (TRIO, ASYNCIO, UVLOOP, RELAY, NGINX)
CONNECTIONS: Final = 32
BODY_SIZES: Final = (traffic.SMALL_BODY, traffic.LARGE_BODY)
LIMIT_US: Final = 300.0


@dataclass
class Rounds:
    """One subject's rounds: CPU microseconds for a request, and requests answered in a second."""

    cost: list[float] = field(default_factory=list)
    speed: list[float] = field(default_factory=list)


def measure(*, quick: bool) -> Result:
    token = traffic.token()
    tables: list[Table] = []
    targets: list[Target] = []
    with connected_subjects(SUBJECTS, CONNECTIONS) as lineup:
        for body_size in BODY_SIZES:
            kilobytes = body_size // 1000
            request = traffic.whole_request(token, body_size)
            seen = take_turns(lineup, request, rounds=1 if quick else 12, total=200 if quick else 400)
            rows = tuple((name, min(of.cost), median(of.cost), median(of.speed)) for name, of in seen.items())
            title = f"One request of {kilobytes} KB, answer of 1 KB, {CONNECTIONS} kept-alive connections"
            tables.append(Table(title, ("", "CPU us, min", "median", "requests/s"), rows))
            targets += [
                Target(f"CPU per request, {kilobytes} KB", name, min(of.cost), LIMIT_US, "us")
                for name, of in seen.items()
                if name in ROUTERS
            ]
    return Result(tuple(tables), tuple(targets))


def take_turns(
    lineup: list[tuple[Subject, list[Connection]]], request: bytes, rounds: int, total: int
) -> dict[str, Rounds]:
    """Every subject answers ``total`` requests in each round; what each round cost, by subject."""
    seen = {subject.name: Rounds() for subject, _ in lineup}
    for number in range(rounds + 1):
        for subject, connections in lineup:
            before = machine.cpu_seconds(subject.pid)
            seconds = ask_in_turn(connections, request, total)
            spent = machine.settled_cpu_seconds(subject.pid) - before
            if number:  # the first round opens the connections to the upstream
                seen[subject.name].cost.append(spent * 1e6 / total)
                seen[subject.name].speed.append(total / seconds)
    return seen
