"""Errors as Anthropic's API tells them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ANTHROPIC_KINDS, Refusal, anthropic_error, render_anthropic

TEXT = st.characters(codec="utf-8")


@pytest.mark.parametrize(("status", "kind"), ANTHROPIC_KINDS.items())
def test_a_status_has_its_kind(status: int, kind: str) -> None:
    assert Refusal(status, "no").kind == kind


def test_a_status_nobody_listed_is_an_api_error() -> None:
    assert Refusal(599, "no").kind == "api_error"


def test_a_kind_can_be_given() -> None:
    assert Refusal(404, "no", "special_error").kind == "special_error"


@given(message=st.text(TEXT), request_id=st.none() | st.text(TEXT, max_size=20))
def test_any_message_is_told_in_the_shape_of_the_api(message: str, request_id: str | None) -> None:
    error = json.loads(anthropic_error(Refusal(400, message), request_id))
    expected: dict[str, object] = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": message},
    }
    if request_id is not None:
        expected["request_id"] = request_id
    assert error == expected


def test_an_answer_names_the_request() -> None:
    status, body = render_anthropic(Refusal(529, "too busy"), "req_7")
    assert status == 529
    assert json.loads(body)["request_id"] == "req_7"


def test_headers_are_no_one_elses() -> None:
    Refusal(400, "a").headers.append((b"x", b"y"))
    assert Refusal(400, "b").headers == []
