"""A token's life, told the same over every transport: issued, used, counted, ended; and what is left at the end."""

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.conftest import OpenStage
from tests.support.requests import LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.stage import Stage

ANSWER = b'{"type":"message","usage":{"input_tokens":7,"output_tokens":5}}'
EVENTS = (
    b'data: {"type":"message_start","message":{"type":"message","usage":{"input_tokens":11,"output_tokens":1}}}\n\n',
    b'data: {"type":"message_delta","delta":{},"usage":{"output_tokens":20}}\n\n',
)


def asks(stage: Stage, path: str, body: object = None, method: str = "POST") -> tuple[int, Any]:
    """Status and JSON of an administrative request on a connection of its own."""
    content = b"" if body is None else json.dumps(body).encode()
    end = stage.client()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    end.send(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    status, _, answer = end.response()
    return status, json.loads(answer)


def uses(stage: Stage, token: bytes) -> None:
    """A whole answer, then a stream."""
    whole, streaming = stage.client(), stage.client()
    whole.send(post(token))
    upstream = stage.upstream()
    upstream.until(b"\r\n\r\n")
    upstream.send(reply(ANSWER, b"200 OK", b"Connection: close"))
    assert whole.response()[0] == 200
    streaming.send(post(token))
    upstream = stage.upstream()
    upstream.until(b"\r\n\r\n")
    upstream.send(STREAM_HEAD + b"".join(map(chunk, EVENTS)) + LAST_CHUNK)
    streaming.until(LAST_CHUNK)


def test_a_token_is_issued_used_counted_and_ended(stage: Stage) -> None:
    status, issued = asks(stage, "/api/tokens", {"ttl_hours": 24, "label": "my-dev-token", "max_requests": 9})
    assert (status, issued["ttl_hours"], issued["label"], issued["account"]) == (200, 24, "my-dev-token", None)
    uses(stage, issued["token"].encode())
    (record,) = asks(stage, "/api/tokens/list", method="GET")[1]["data"]
    assert (record["id"], record["used_requests"], record["revoked"]) == (issued["id"], 2, False)
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == (18, 25)
    assert asks(stage, f"/api/tokens/{issued['id']}", method="GET") == (200, record)
    assert asks(stage, "/api/tokens/revoke", {"id": issued["id"]}) == (200, {"revoked": issued["id"]})
    refused = stage.client()
    refused.send(post(issued["token"].encode()))
    assert refused.response()[0] == 403
    assert asks(stage, "/api/tokens/expire", {"id": issued["id"]}) == (200, {"expired": issued["id"]})
    assert asks(stage, "/api/tokens/revoke", {"id": "nobody"})[0] == 404


def test_a_provider_is_stored_shown_and_deleted(stage: Stage) -> None:
    wanted = {"name": "litellm", "base_url": "http://litellm:4000/v1", "default_model": "claude-sonnet"}
    status, stored = asks(stage, "/api/providers", wanted | {"api_key": "sk-hunter2"})
    assert (status, stored["has_encrypted_api_key"]) == (200, True)
    assert stored.items() >= wanted.items()
    assert asks(stage, "/api/providers", method="GET") == (200, {"data": [stored]})
    assert asks(stage, "/api/providers/litellm", method="DELETE") == (200, {"deleted": "litellm"})
    assert asks(stage, "/api/providers/litellm", method="GET")[0] == 404


def test_what_is_counted_is_what_was_sent(stage: Stage) -> None:
    uses(stage, stage.token())
    refused = stage.client()
    refused.send(get(b"/nowhere"))
    assert refused.response()[0] == 404
    end = stage.client()
    end.send(get(b"/metrics"))
    page = end.response()[2].decode()
    seen = {sample.name: sample.value for family in text_string_to_metric_families(page) for sample in family.samples}
    counted = {
        "requests_total": 3,
        "errors_total": 1,
        "anthropic_messages_total": 2,
        "bytes_in_total": len(ANSWER) + sum(map(len, EVENTS)),
        "input_tokens_total": 18,
        "output_tokens_total": 25,
        "in_flight_requests": 1,
    }
    assert {name: seen[f"link_assistant_{name}"] for name in counted} == counted


def test_limits_hold(stage: Stage) -> None:
    token = asks(stage, "/api/tokens", {"max_requests": 2, "models": ["claude-*"]})[1]["token"].encode()
    other = stage.client()
    other.send(post(token, b'{"model":"gpt-9"}'))
    assert other.response()[0] == 403
    uses(stage, token)
    last = stage.client()
    last.send(post(token))
    status, headers, _ = last.response()
    assert (status, headers[b"x-should-retry"]) == (429, b"false")
    assert stage.no_upstream()


def test_a_router_that_has_counted_ends_all_the_same(stage_with: OpenStage) -> None:
    for policy in ("both", "memory"):
        stage = stage_with(STORAGE_POLICY=policy)
        uses(stage, stage.token())
        stage.drain(10)
        stage.join()
