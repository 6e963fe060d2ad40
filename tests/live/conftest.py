"""The official clients before a router, the router before a practice upstream, all over loopback sockets."""

from collections.abc import Iterator

import anthropic
import pytest

from cli.practice import PRACTICE_API_KEY, PRACTICE_TOKEN, PracticeUpstream
from protocol.routing import LEGACY_PREFIX
from tests.live.clients import new_client
from tests.live.routers import LOOPS, RunningRouter


@pytest.fixture(params=LOOPS, scope="module")
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop that the router runs on."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def upstream() -> Iterator[PracticeUpstream]:
    """A provider that takes the router's credential; the API key is for tests that ask it directly."""
    with PracticeUpstream(credentials={PRACTICE_TOKEN, PRACTICE_API_KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def router(loop: str, upstream: PracticeUpstream) -> Iterator[RunningRouter]:
    with RunningRouter(loop, upstream.origin) as running:
        yield running


@pytest.fixture
def own_router(loop: str, upstream: PracticeUpstream) -> Iterator[RunningRouter]:
    """For tests that leave the account in a state that is no good for others."""
    with RunningRouter(loop, upstream.origin) as running:
        yield running


@pytest.fixture(params=["", LEGACY_PREFIX], ids=["root", "prefix"], scope="module")
def base_url(router: RunningRouter, request: pytest.FixtureRequest) -> str:
    """Each of the two addresses under which clients may reach the API."""
    return router.origin + str(request.param)


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[anthropic.Anthropic]:
    """The SDK of the current major with a router token; it asks once. Its connections live as long as they can."""
    with new_client(base_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def direct(upstream: PracticeUpstream) -> Iterator[anthropic.Anthropic]:
    """The same SDK without a router, to compare with."""
    with new_client(upstream.origin, api_key=PRACTICE_API_KEY) as opened:
        yield opened
