from typing import Any

import pytest

from tests.support.openai_requests import OPUS, SONNET, USER, call, calling, chat_body, refused, result
from tests.support.openai_requests import chat as translated

HURRY = {"role": "system", "content": "Hurry."}
FOLDED = {"type": "text", "text": "<system>\nHurry.\n</system>"}


def roles(*messages: Any, **parameters: Any) -> list[str]:
    return [message["role"] for message in chat_body(*messages, **parameters)["messages"]]


def test_results_come_first_and_in_call_order_whatever_the_client_did() -> None:
    body = chat_body(
        USER,
        calling(call("a"), call("b"), call("c")),
        result("c", "3"),
        {"role": "user", "content": "Quick!"},
        result("a", "1"),
        result("b", "2"),
    )
    assert [block.get("content", block.get("text")) for block in body["messages"][2]["content"]] == [
        "1",
        "2",
        "3",
        "Quick!",
    ]


def test_neighbours_with_the_same_role_become_one_turn() -> None:
    body = chat_body(USER, USER, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, USER)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Hi"}] * 2


def test_messages_without_content_are_left_out() -> None:
    body = chat_body(USER, {"role": "assistant", "content": ""}, {"role": "user", "content": "And?"})
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "And?"}]}
    ]


@pytest.mark.parametrize("content", ["", " ", [], None])
def test_a_blank_last_message_is_refused(content: Any) -> None:
    error = refused(translated, USER, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": content})
    assert error.param == "messages.2.content"


def test_instructions_alone_are_what_is_to_be_answered() -> None:
    body = chat_body({"role": "system", "content": "Be brief."}, {"role": "system", "content": "Name a colour."})
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Name a colour."}]}]


def test_an_empty_tool_result_has_no_content() -> None:
    body = chat_body(USER, calling(call("a"), call("b")), result("a", ""), result("b", []))
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a"},
        {"type": "tool_result", "tool_use_id": "b"},
    ]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ((USER, calling(call("a"))), "messages.1.tool_calls.0"),
        ((USER, calling(call("a"), call("b")), result("a")), "messages.1.tool_calls.1"),
        (
            (USER, calling(call("a")), USER, {"role": "assistant", "content": "x"}, result("a")),
            "messages.1.tool_calls.0",
        ),
        ((USER, result("a")), "messages.1"),
        ((USER, calling(call("a")), result("b"), result("a")), "messages.2"),
        ((USER, calling(call("a")), result("a"), result("a")), "messages.3"),
        ((USER, calling(call("a"), call("a")), result("a")), "messages.1.tool_calls.1"),
    ],
)
def test_calls_and_results_that_do_not_pair_up_are_refused_by_their_place(messages: Any, param: str) -> None:
    error = refused(translated, *messages)
    assert (error.status, error.param) == (400, param)


def test_an_id_that_is_used_again_in_a_later_turn_gets_a_name_of_its_own() -> None:
    turn = (calling(call("call_0")), result("call_0"))
    body = chat_body(USER, *turn, *turn, *turn)
    used = [message["content"][0].get("id") for message in body["messages"][1::2]]
    answered = [message["content"][0].get("tool_use_id") for message in body["messages"][2::2]]
    assert used == answered == ["call_0", "call_0_2", "call_0_3"]


@pytest.mark.parametrize("call_id", ["functions.bash:0", "", "grün"])
def test_an_id_that_the_upstream_would_refuse_is_spelled_anew_on_both_sides(call_id: str) -> None:
    body = chat_body(USER, calling(call(call_id)), result(call_id))
    upstream = body["messages"][1]["content"][0]["id"]
    assert upstream.startswith("id_")
    assert body["messages"][2]["content"][0]["tool_use_id"] == upstream


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((USER, HURRY), ["user", "system"]),
        ((USER, HURRY, {"role": "assistant", "content": "x"}), ["user", "system", "assistant"]),
        ((USER, calling(call("a")), result("a"), HURRY), ["user", "assistant", "user", "system"]),
        ((USER, HURRY, HURRY), ["user", "system"]),
        ((USER, HURRY, USER), ["user"]),
        ((USER, {"role": "assistant", "content": "x"}, HURRY), ["user", "assistant", "user"]),
        ((USER, calling(call("a")), HURRY, result("a")), ["user", "assistant", "user"]),
    ],
)
def test_later_instructions_are_system_turns_where_the_upstream_takes_them(messages: Any, expected: list[str]) -> None:
    assert roles(*messages, model=OPUS) == expected


@pytest.mark.parametrize("model", [SONNET, OPUS])
def test_elsewhere_later_instructions_stay_in_place_as_marked_text(model: str) -> None:
    go = {"role": "user", "content": "Go."}
    body = chat_body(USER, HURRY, go, model=model)
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Hi"}, FOLDED, {"type": "text", "text": "Go."}]
    body = chat_body(USER, calling(call("a"), call("b")), result("a"), HURRY, result("b"), model=model)
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert body["messages"][2]["content"][2] == FOLDED


def test_older_models_never_see_a_system_turn() -> None:
    assert roles(USER, HURRY, model=SONNET) == ["user"]


def test_a_history_with_calls_declares_their_tools_though_the_request_offers_none() -> None:
    body = chat_body(
        USER, calling(call("a", "f.x"), call("b", "g"), call("c", "g")), result("a"), result("b"), result("c")
    )
    assert [tool["name"] for tool in body["tools"]] == ["f_x", "g"]
    assert body["tool_choice"] == {"type": "none"}
