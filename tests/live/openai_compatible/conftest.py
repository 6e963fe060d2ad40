"""The official SDKs before a router before a server of OpenAI's API that answers as it is told, over real sockets."""

from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.live.clients import new_client
from tests.live.routers import RunningRouter, new_token
from tests.support.openai_server import OpenAIServer

KEY = "sk-the-providers-key"


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="module")
def compatible_router(loop: str, provider: OpenAIServer) -> Iterator[RunningRouter]:
    settings = {
        "UPSTREAM_PROVIDER": "openai-compatible",
        "OPENAI_COMPATIBLE_BASE_URL": provider.base_url,
        "OPENAI_COMPATIBLE_API_KEY": KEY,
    }
    with RunningRouter(loop, "http://nobody.invalid", **settings) as running:
        yield running


@pytest.fixture
def server(provider: OpenAIServer) -> OpenAIServer:
    """The provider, with nothing left of the test before."""
    provider.answers.clear()
    provider.requests.clear()
    return provider


@pytest.fixture(scope="module")
def openai_client(compatible_router: RunningRouter) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=new_token(), base_url=f"{compatible_router.origin}/v1", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def anthropic_client(compatible_router: RunningRouter) -> Iterator[anthropic.Anthropic]:
    with new_client(compatible_router.origin) as opened:
        yield opened
