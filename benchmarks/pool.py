"""What it costs to choose among many accounts, and to take in what became of a request; how much that is of a whole
request, as a router's process answers it in the same run.

``python -m benchmarks.pool`` prints it as JSON.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Final

from benchmarks import traffic
from benchmarks.chunk import microseconds
from benchmarks.client import connected_subjects
from benchmarks.report import Result, Table, Target, as_json
from benchmarks.request import CONNECTIONS, take_turns
from benchmarks.subjects import TRIO
from protocol.config import Strategy
from protocol.identity.affinity import read_hints
from protocol.identity.limits import read_limits
from protocol.identity.pool import AccountPool
from protocol.values import Headers, Tokens

ACCOUNTS: Final = 100
LIMIT_MICROSECONDS: Final = 5.0
LIMIT_PER_CENT: Final = 3.0
WHOLE: Final = "choose, begin, take in the answer, end"
TIMES: Final = 200
WALL: Final = 1_795_000_000.0
MODEL: Final = "claude-opus-5-5"

UNIFIED: Final = b"anthropic-ratelimit-unified-"
LIMITS: Final[Headers] = [
    *((b"x-field-%d" % number, b"value") for number in range(12)),
    (UNIFIED + b"status", b"allowed"),
    (UNIFIED + b"5h-status", b"allowed"),
    (UNIFIED + b"5h-reset", b"1795018000"),
    (UNIFIED + b"5h-utilization", b"0.31"),
    (UNIFIED + b"7d-status", b"allowed_warning"),
    (UNIFIED + b"7d-reset", b"1795600000"),
    (UNIFIED + b"7d-utilization", b"0.82"),
    (UNIFIED + b"representative-claim", b"five_hour"),
    (UNIFIED + b"reset", b"1795018000"),
    (UNIFIED + b"overage-status", b"rejected"),
]
MODEL_REFUSED: Final[Headers] = [(UNIFIED + b"7d_oi-status", b"rejected"), (UNIFIED + b"7d_oi-reset", b"1795600000")]
AGENT_HEADERS: Final[Headers] = [(b"accept", b"application/json"), (b"x-claude-code-session-id", b"5d0ff1f8-1c2d")]
AGENT_REQUEST: Final = json.dumps(
    {
        "model": MODEL,
        "system": [{"type": "text", "text": "You are an agent that works on code. " * 400}],
        "tools": [{"name": "tool", "description": "Reads and writes. " * 120}] * 12,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Look at main.py, please."}]}] * 9,
    }
).encode()


def measure(*, quick: bool) -> Result:
    rounds = 5 if quick else 50
    chosen = {name: microseconds(step, TIMES, rounds=rounds) for name, step in _choices().items()}
    others = {name: microseconds(step, TIMES, rounds=rounds) for name, step in _others().items()}
    request = _request_microseconds(quick=quick)
    shares = {name: 100 * cost / request for name, cost in {**chosen, **others}.items()}
    table = Table(
        f"A pool of {ACCOUNTS} accounts",
        ("step", "us", "% of a request"),
        tuple((name, cost, shares[name]) for name, cost in {**chosen, **others}.items()),
        f"A request of 1 KB took {request:.0f} us of CPU in {TRIO}, the least of its rounds.",
    )
    what, share = f"choosing among {ACCOUNTS} accounts", "share of a request"
    return Result(
        (table,),
        (
            *(Target(what, name, cost, LIMIT_MICROSECONDS, "us") for name, cost in chosen.items()),
            *(Target(f"{what}, {share}", name, shares[name], LIMIT_PER_CENT, "%") for name in (*chosen, WHOLE)),
        ),
    )


def _request_microseconds(*, quick: bool) -> float:
    """CPU of the router's process for one request."""
    request = traffic.whole_request(traffic.token(), traffic.SMALL_BODY)
    with connected_subjects((TRIO,), CONNECTIONS) as lineup:
        return min(take_turns(lineup, request, rounds=1 if quick else 8, total=200 if quick else 400)[TRIO].cost)


def _choices() -> dict[str, Callable[[], object]]:
    steps: dict[str, Callable[[], object]] = {}
    for strategy in Strategy:
        steps[f"choose, {strategy.value}"] = partial(_pool(strategy).choose, 2.0, model=MODEL)
    pool = _pool(Strategy.LEAST_USED)
    steps["choose, affinity"] = lambda: pool.choose(2.0, model=MODEL, preferred="account-50")
    half = _pool(Strategy.ROUND_ROBIN)
    for number in range(0, ACCOUNTS, 2):
        half.answered(f"account-{number}", status=529, headers=[], asked_at=2.0, now=2.0, wall=WALL)
    steps["choose, half of them out"] = lambda: half.choose(2.0, model=MODEL)
    scoped = _pool(Strategy.PRIORITY)
    for number in range(ACCOUNTS // 2):
        name = f"account-{number}"
        scoped.answered(name, status=429, headers=MODEL_REFUSED, model=MODEL, asked_at=2.0, now=2.0, wall=WALL)
    steps["choose, the first half out for the model"] = lambda: scoped.choose(2.0, model=MODEL)
    return steps


def _others() -> dict[str, Callable[[], object]]:
    pool = _pool(Strategy.LEAST_USED)
    changing = cycle([*LIMITS, (UNIFIED + b"7d-utilization", b"0.%04d" % number)] for number in range(1000))

    def whole_request() -> None:
        name = pool.choose(2.0, model=MODEL)
        assert isinstance(name, str)
        pool.began(name, 2.0)
        pool.answered(name, status=200, headers=LIMITS, model=MODEL, asked_at=2.0, now=2.5, wall=WALL)
        pool.spent(name, Tokens(900, 300), 3.0)
        pool.ended(name, 3.0)

    return {
        WHOLE: whole_request,
        "read the limits in a response, as told before": lambda: read_limits(LIMITS, WALL),
        "read them where they have changed": lambda: read_limits(next(changing), WALL),
        f"read the hints of a request, {len(AGENT_REQUEST)} bytes": lambda: read_hints(AGENT_HEADERS, AGENT_REQUEST),
        "read those where no session is named": lambda: read_hints([], AGENT_REQUEST),
    }


def _pool(strategy: Strategy) -> AccountPool:
    names = [f"account-{number}" for number in range(ACCOUNTS)]
    pool = AccountPool(names, strategy=strategy, entropy=lambda size: b"\x80" * size)
    for name in names:
        pool.began(name, 1.0)
        pool.answered(name, status=200, headers=LIMITS, model=MODEL, asked_at=1.0, now=1.0, wall=WALL)
        pool.ended(name, 1.0)
    return pool


if __name__ == "__main__":
    json.dump(as_json(measure(quick="--quick" in sys.argv)), sys.stdout, indent=2)
    print()
