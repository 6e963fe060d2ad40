"""A whole response as a message, and how it ended."""

import json
from typing import Any

import pytest
from anthropic.types import Message

from protocol.translate.onto_openai.responses_response import message_from_response
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED, EncryptedReasoning, encrypted_reasoning
from tests.support.openai_requests import refused
from tests.support.responses_answers import called, reasoned, refusal, response, said, text

Json = dict[str, Any]


def asked(**facts: Any) -> CarriedRequest:
    return CarriedRequest(body=b"", requested_model="claude-opus-5-5", upstream_model="served", stream=False, **facts)


def message(answer: Json, **facts: Any) -> Json:
    """The message for a response; that Anthropic's SDK knows what it is, is checked, too."""
    body = message_from_response(json.dumps(answer).encode(), asked(**facts), identity="req_1")
    Message.model_validate_json(body, strict=True)
    made: Json = json.loads(body)
    return made


def error_of(answer: Any) -> Any:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return refused(message_from_response, body, asked(), identity="req_1")


def test_a_plain_answer() -> None:
    assert message(response(said(text("Hel"), text("lo")))) == {
        "id": "msg_01ABC",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 6,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


def test_items_become_blocks_in_their_order() -> None:
    answer = response(
        reasoned("Two", "steps."),
        said(text("First.")),
        called("weather", '{"city": "Paris"}'),
        {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}},
        called("clock", "", "call_2"),
    )
    made = message(answer, shows_thinking=True)
    assert made["content"] == [
        {"type": "thinking", "thinking": "Two\n\nsteps.", "signature": UNSIGNED},
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_2", "name": "clock", "input": {}},
    ]
    assert made["stop_reason"] == "tool_use"
    assert [block["type"] for block in message(answer)["content"]] == ["text", "tool_use", "tool_use"]


def test_encrypted_reasoning_is_kept_under_the_thoughts_even_without_any() -> None:
    [block] = message(response(reasoned(encrypted="gAAAA")), shows_thinking=True)["content"]
    assert block == {"type": "thinking", "thinking": "", "signature": EncryptedReasoning("rs_1", "gAAAA").signature}
    assert encrypted_reasoning(block["signature"]) == EncryptedReasoning("rs_1", "gAAAA")
    assert message(response(reasoned()), shows_thinking=True)["content"] == []


def test_reasoning_in_full_is_shown_where_there_is_no_summary() -> None:
    full = reasoned(content=[{"type": "reasoning_text", "text": "Long."}], summary=[])
    assert message(response(full), shows_thinking=True)["content"][0]["thinking"] == "Long."


def test_a_refusal_is_text_and_never_looks_like_success() -> None:
    made = message(response(said(text("Well, "), refusal("no."))))
    assert made["content"] == [{"type": "text", "text": "Well, no."}]
    assert (made["stop_reason"], made["stop_details"]["explanation"]) == ("refusal", "no.")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "end_turn"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "max_tokens"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "refusal"),
        ({"status": "incomplete", "incomplete_details": {"reason": "a_reason_of_tomorrow"}}, "max_tokens"),
        ({"status": "incomplete"}, "max_tokens"),
        ({"native_finish_reason": "stop_sequence"}, "stop_sequence"),
        ({"native_finish_reason": "max_tokens"}, "end_turn"),
        ({"native_finish_reason": "tool_use"}, "end_turn"),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "native_finish_reason": "pause_turn",
            },
            "pause_turn",
        ),
    ],
)
def test_every_ending(fields: Json, expected: str) -> None:
    assert message(response(said(text("a")), **fields))["stop_reason"] == expected


def test_a_call_that_was_cut_off_is_left_out() -> None:
    cut: Any = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    made = message(response(called("a"), called("b", '{"x": "unfin', "call_2"), **cut))
    assert [block["name"] for block in made["content"]] == ["a"]
    assert made["stop_reason"] == "max_tokens"
    assert "no JSON object" in error_of(response(called("b", '{"x": "unfin'))).message


def test_names_and_ids_are_the_clients() -> None:
    made = message(
        response(called("short", call_id=""), called("b", call_id="a b"), id=None), tools={"short": "a_longer_name"}
    )
    assert made["id"] == "msg_req_1"
    assert [(block["id"], block["name"]) for block in made["content"]] == [
        ("call_req_1_0", "a_longer_name"),
        ("id_YSBi", "b"),
    ]


def test_counts_that_nobody_made_are_zero() -> None:
    assert message(response(usage=None))["usage"]["input_tokens"] == 0


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (response(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow."}), 429, "rate_limit_error"),
        (response(status="failed", error={"code": "server_error", "message": "Slow."}), 500, "api_error"),
        ({"error": {"code": "server_is_overloaded", "message": "Slow."}}, 529, "overloaded_error"),
    ],
)
def test_a_failure_is_an_error(answer: Json, status: int, kind: str) -> None:
    error = error_of(answer)
    assert (error.status, error.kind, error.message) == (status, kind, "Slow.")


@pytest.mark.parametrize("status", ["failed", "in_progress", "queued", "cancelled", "of_tomorrow", None])
def test_a_response_that_has_not_ended_well_is_no_answer(status: Any) -> None:
    assert error_of(response(said(text("a")), status=status)).status == 502


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"status":"completed","output":5}',
        b'{"status":"completed","output":[5]}',
        b'{"status":"completed","output":[{"type":"message","content":5}]}',
        b'{"status":"completed","output":[{"type":"function_call","arguments":"{}"}]}',
        b"[" * 3000,
    ],
)
def test_what_is_no_response_is_the_upstreams_fault(body: bytes) -> None:
    assert error_of(body).status == 502
