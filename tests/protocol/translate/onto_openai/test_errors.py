"""Errors of an upstream, as an Anthropic client is to be told of them."""

import json
from typing import Any

import pytest

from protocol.errors import anthropic_error
from protocol.translate.errors import KINDS, translate_error
from protocol.translate.onto_openai.errors import openai_refusal, stream_refusal


def told(status: int, body: Any) -> tuple[int, str, str]:
    refusal = openai_refusal(status, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert json.loads(anthropic_error(refusal))["error"] == {"type": refusal.kind, "message": refusal.message}
    return refusal.status, refusal.kind, refusal.message


def openai(message: str = "Sorry.", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "some_error", "param": None, "code": None} | fields}


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (401, 401, "authentication_error"),
        (402, 402, "billing_error"),
        (403, 403, "permission_error"),
        (404, 404, "not_found_error"),
        (408, 408, "timeout_error"),
        (409, 409, "invalid_request_error"),
        (413, 413, "request_too_large"),
        (422, 400, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (500, 500, "api_error"),
        (502, 502, "api_error"),
        (503, 529, "overloaded_error"),
        (504, 504, "timeout_error"),
        (520, 520, "api_error"),
        (529, 529, "overloaded_error"),
        (200, 502, "api_error"),
        (302, 502, "api_error"),
        (600, 502, "api_error"),
    ],
)
def test_every_status_has_its_meaning(status: int, expected: int, kind: str) -> None:
    assert told(status, openai()) == (expected, kind, "Sorry.")


@pytest.mark.parametrize(
    ("status", "fields", "expected", "kind"),
    [
        (429, {"code": "rate_limit_exceeded"}, 429, "rate_limit_error"),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, 402, "billing_error"),
        (429, {"type": "insufficient_quota"}, 402, "billing_error"),
        (429, {"code": "engine_overloaded"}, 529, "overloaded_error"),
        (503, {"code": "slow_down"}, 529, "overloaded_error"),
        (400, {"code": "invalid_api_key"}, 401, "authentication_error"),
        (400, {"code": "model_not_found"}, 404, "not_found_error"),
        (200, {"code": 429}, 429, "rate_limit_error"),
        (200, {"code": True}, 502, "api_error"),
        (400, {"code": 5}, 400, "invalid_request_error"),
    ],
)
def test_a_code_tells_more_than_the_status(status: int, fields: Any, expected: int, kind: str) -> None:
    assert told(status, openai(**fields))[:2] == (expected, kind)


@pytest.mark.parametrize(
    "body",
    [
        openai(code="context_length_exceeded"),
        openai("This model's maximum context length is 32768 tokens. However, you requested 40000 tokens."),
        openai("the request exceeds the available context size, try increasing it", type="exceed_context_size_error"),
        openai("The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."),
        {"object": "error", "message": "The prompt is longer than the context window.", "code": 400},
    ],
)
def test_a_conversation_that_is_too_long_is_told_in_the_words_that_make_claude_code_compact(body: Any) -> None:
    status, kind, message = told(400, body)
    assert (status, kind) == (400, "invalid_request_error")
    assert message.startswith("prompt is too long: ")


def test_words_that_are_anthropics_already_are_not_doubled() -> None:
    message = "prompt is too long: 210000 tokens > 200000 maximum"
    assert told(400, openai(message, code="context_length_exceeded"))[2] == message


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 128000. This model supports at most 16384 completion tokens.",
        "'max_tokens' or 'max_completion_tokens' is too large: 128000. This model's maximum context length is 32768.",
        "The contextual information is missing.",
    ],
)
def test_an_answer_that_would_be_too_long_is_no_prompt_that_is(message: str) -> None:
    assert told(400, openai(message)) == (400, "invalid_request_error", message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "model 'llama' not found"}, "model 'llama' not found"),
        ({"object": "error", "message": "Sorry.", "type": "BadRequestError", "code": 404}, "Sorry."),
        ({"detail": "Not Found"}, "Not Found"),
        ({"message": "no Route matched"}, "no Route matched"),
        ({"detail": [{"msg": "Field required"}]}, '{"detail": [{"msg": "Field required"}]}'),
        ({"error": {}}, '{"error": {}}'),
        (["Sorry."], '["Sorry."]'),
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"x" * 600, "x" * 500),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "the upstream answered 404 without a message"),
        (b"[" * 3000, "[" * 500),
    ],
)
def test_every_shape_of_body_yields_its_message(body: Any, message: str) -> None:
    assert told(404, body) == (404, "not_found_error", message)


def test_an_error_in_a_stream_has_the_status_that_it_names() -> None:
    assert stream_refusal(json.dumps(openai(code=429)).encode()).status == 429
    assert stream_refusal(json.dumps(openai()).encode()).status == 500


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_that_went_through_the_other_direction_keeps_its_kind(kind: str) -> None:
    status = KINDS[kind].status
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "Sorry."}}).encode()
    assert openai_refusal(*translate_error(status, body)).kind == kind
