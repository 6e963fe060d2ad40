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
    half_close = "answer" if data[:1] in (b"a", b"A") else "cancel"
    play(islice(operations(data[1:]), MOST_OPERATIONS), half_close, several=data[:1].isupper())


def operations(data: bytes) -> list[Operation]:
    """Three bytes an operation: what, on whom, how."""
    triples = zip(data[::3], data[1::3], data[2::3], strict=False)
    return [(NAMES[what % len(NAMES)], which, how) for what, which, how in triples]


def encoded(history: list[Operation], half_close: str = "cancel", *, several: bool = False) -> bytes:
    """The bytes that stand for a history: the first one for the settings."""
    triples = (bytes([NAMES.index(name), which, how]) for name, which, how in history)
    settings = half_close[:1].upper() if several else half_close[:1]
    return settings.encode() + b"".join(triples)


if __name__ == "__main__":
    fuzz(check)
