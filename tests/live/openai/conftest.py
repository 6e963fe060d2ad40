"""OpenAI's own client before a router; the routers and the practice upstream are those of the other live tests."""

from collections.abc import Iterator

import openai
import pytest

from tests.live.routers import RunningRouter, new_token


@pytest.fixture(scope="module")
def base_url(router: RunningRouter) -> str:
    """Where OpenAI's clients reach the router: there is no prefix for them."""
    return f"{router.origin}/v1"


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    """The SDK of the current major with a router token; it asks once."""
    with openai.OpenAI(api_key=new_token(), base_url=base_url, max_retries=0) as opened:
        yield opened
