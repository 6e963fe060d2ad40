import json
from typing import Any, get_args

import pytest
from anthropic.types.shared import ErrorType

from protocol.errors import ANTHROPIC_KINDS, Refusal
from protocol.translate.errors import (
    KINDS,
    openai_error,
    openai_status,
    render_openai,
    translate_error,
    upstream_refusal,
)


def error_of(body: bytes) -> dict[str, Any]:
    decoded = json.loads(body)
    assert decoded.keys() == {"error"}
    error: dict[str, Any] = decoded["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def anthropic_body(kind: str, message: str = "No.") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


def test_a_refusal_names_the_parameter_and_the_code() -> None:
    refusal = Refusal(400, "n: one choice", param="n", code="unsupported_parameter")
    assert error_of(openai_error(refusal)) == {
        "message": "n: one choice",
        "type": "invalid_request_error",
        "param": "n",
        "code": "unsupported_parameter",
    }


def test_a_refusal_is_rendered_with_the_status_that_openai_clients_know() -> None:
    status, body = render_openai(Refusal(529, "busy"), "req_1")
    assert (status, error_of(body)["code"]) == (503, "server_is_overloaded")


@pytest.mark.parametrize(
    ("status", "kind", "expected", "code"),
    [
        (400, "invalid_request_error", 400, None),
        (401, "authentication_error", 401, "invalid_api_key"),
        (402, "billing_error", 429, "insufficient_quota"),
        (403, "permission_error", 403, "permission_denied"),
        (404, "not_found_error", 404, None),
        (413, "request_too_large", 413, "request_too_large"),
        (429, "rate_limit_error", 429, "rate_limit_exceeded"),
        (500, "api_error", 500, "server_error"),
        (504, "timeout_error", 504, "timeout"),
        (529, "overloaded_error", 503, "server_is_overloaded"),
        (418, "some_new_error", 418, None),
        (520, "some_new_error", 520, "server_error"),
    ],
)
def test_an_upstream_error_keeps_its_message_under_openais_status_and_code(
    status: int, kind: str, expected: int, code: str | None
) -> None:
    translated, body = translate_error(status, anthropic_body(kind))
    error = error_of(body)
    assert (translated, error["message"], error["code"]) == (expected, "No.", code)


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("not_found_error", "model: claude-9", "model_not_found"),
        ("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_length_exceeded"),
        ("invalid_request_error", "input length and `max_tokens` exceed context limit", "context_length_exceeded"),
        ("invalid_request_error", "messages: at least one message is required", None),
    ],
)
def test_what_anthropic_tells_in_words_becomes_the_code_that_clients_act_on(
    kind: str, message: str, code: str | None
) -> None:
    assert error_of(translate_error(400, anthropic_body(kind, message))[1])["code"] == code


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"{}", b'{"error":"no"}', b"\xff\xfe", b"[" * 100_000, b"null"]
)
def test_a_body_that_is_not_anthropics_is_quoted(body: bytes) -> None:
    status, translated = translate_error(502, body)
    error = error_of(translated)
    assert (status, error["type"]) == (502, "server_error")
    assert error["message"].startswith("the upstream answered 502")
    assert body.decode("utf-8", "replace")[:500] in error["message"]
    assert len(error["message"]) < 600


def test_an_unknown_status_is_an_error_of_its_class() -> None:
    assert upstream_refusal(422, b"").kind == "invalid_request_error"
    assert upstream_refusal(520, b"").kind == "api_error"


@pytest.mark.parametrize(
    ("status", "expected"), [(200, 502), (304, 502), (99, 502), (599, 599), (600, 502), (451, 451)]
)
def test_only_an_error_status_is_relayed_as_one(status: int, expected: int) -> None:
    assert openai_status(status) == expected


def test_every_kind_of_error_has_its_openai_counterpart() -> None:
    of_other_apis = {"memory_precondition_failed_error", "memory_path_conflict_error", "conflict_error"}
    assert set(get_args(ErrorType)) - of_other_apis | set(ANTHROPIC_KINDS.values()) == set(KINDS)
