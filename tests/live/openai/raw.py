"""Streams as bytes: what the SDK received before it made anything of it."""

import json
from typing import Any

import httpx2
import openai

from cli.practice import PracticeUpstream
from tests.live.routers import new_token

Json = dict[str, Any]


def raw_stream(client: openai.OpenAI, path: str, asked: Json) -> bytes:
    """Every byte of a streamed answer, up to where it broke off if it did."""
    received = b""
    headers = {"authorization": f"Bearer {new_token()}"}
    url = str(client.base_url) + path
    with (
        httpx2.Client(verify=False, trust_env=False) as http,
        http.stream("POST", url, json={**asked, "stream": True}, headers=headers) as streamed,
    ):
        assert streamed.status_code == 200, streamed.read()
        assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
        try:
            for piece in streamed.iter_raw():
                received += piece
        except httpx2.RemoteProtocolError:
            pass
    return received


def asked_upstream(upstream: PracticeUpstream) -> Json:
    """The latest Messages request that reached the provider."""
    body: Json = json.loads(upstream.requests[-1].body)
    return body


def without_ids(value: Any) -> Any:
    """The same, but for the ids: the practice upstream makes those of the request's bytes."""
    if isinstance(value, dict):
        hidden = {"id", "call_id", "created", "created_at", "completed_at", "encrypted_content", "item_id"}
        return {name: without_ids(member) for name, member in value.items() if name not in hidden}
    if isinstance(value, list):
        return [without_ids(member) for member in value]
    return value
