"""Scenes with several accounts; each must end without a fault of ours, and with no request left in flight."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.pooled import Pooled

OpenPool = Callable[..., Pooled]


@pytest.fixture
def pool_of() -> Iterator[OpenPool]:
    """Open a router with so many accounts."""
    opened: list[Pooled] = []

    def open_with(*arguments: Any, **settings: Any) -> Pooled:
        opened.append(Pooled(*arguments, **settings))
        return opened[-1]

    yield open_with
    for scene in opened:
        assert sum(scene.in_flight()) == len(scene.shell.gateway._exchanges)
        scene.ends()


@pytest.fixture
def scene(pool_of: OpenPool) -> Pooled:
    """A router with three accounts and default settings."""
    return pool_of()
