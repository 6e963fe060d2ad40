"""Any history of clients, upstreams, time, disk and operator: the router's promises hold, as ``tests/support/world.py``
states them, and the same history again gives the same commands.
"""

from itertools import islice
from typing import Final

from fuzz import fuzz
from tests.support.world import OPERATIONS, Operation, play

NAMES: Final = tuple(OPERATIONS)
MOST_OPERATIONS: Final = 100


def check(data: bytes) -> None:
    play(islice(operations(data[1:]), MOST_OPERATIONS), "answer" if data[:1] == b"a" else "cancel")


def operations(data: bytes) -> list[Operation]:
    """Three bytes an operation: what, on whom, how."""
    triples = zip(data[::3], data[1::3], data[2::3], strict=False)
    return [(NAMES[what % len(NAMES)], which, how) for what, which, how in triples]


def encoded(history: list[Operation], half_close: str = "cancel") -> bytes:
    """The bytes that stand for a history."""
    triples = (bytes([NAMES.index(name), which, how]) for name, which, how in history)
    return half_close[:1].encode() + b"".join(triples)


if __name__ == "__main__":
    fuzz(check)
