"""Every test of this folder runs over the memory, trio and asyncio shells."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.stage import TRANSPORTS, Stage, open_stage


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stage(transport: str) -> Iterator[Stage]:
    """A router with default settings."""
    with open_stage(transport) as stage:
        yield stage


OpenStage = Callable[..., Stage]


@pytest.fixture
def stage_with(transport: str) -> Iterator[OpenStage]:
    """Open a router with settings of the test's own."""
    with ExitStack() as stack:

        def open_with(credentials: bytes | None = None, **settings: str) -> Stage:
            extra = {} if credentials is None else {"credentials": credentials}
            return stack.enter_context(open_stage(transport, settings, **extra))

        yield open_with
