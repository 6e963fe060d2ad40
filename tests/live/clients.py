"""The current major of the SDK, as the live tests use it."""

from typing import Any

import anthropic

from tests.live.routers import new_token

LONGEST_SILENCE = 30.0
"""Seconds until a test that waits for nothing fails."""


def new_client(base_url: str, **options: Any) -> anthropic.Anthropic:
    """A client with a router token that asks once; ``options`` of the SDK add to that or replace it."""
    settings: dict[str, Any] = {"api_key": new_token(), "max_retries": 0, "timeout": LONGEST_SILENCE, **options}
    return anthropic.Anthropic(base_url=base_url, **settings)
