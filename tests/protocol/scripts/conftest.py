"""Scenes with OpenAI-compatible providers; each must end without a fault of ours in the log."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.provided import Json, Provided

OpenProvided = Callable[..., Provided]


@pytest.fixture
def provided() -> Iterator[OpenProvided]:
    """Open a router with these stored providers and settings."""
    opened: list[Provided] = []

    def open_with(*records: Json, **settings: str) -> Provided:
        opened.append(Provided(*records, **settings))
        return opened[-1]

    yield open_with
    for scene in opened:
        scene.assert_faultless()
