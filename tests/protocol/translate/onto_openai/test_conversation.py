"""Turns: who says what in which order, and what Claude Code adds to it."""

import json
from typing import Any

import pytest

from protocol.translate.onto_openai.servers import ChatServer, ReturnedThinking
from protocol.translate.onto_openai.thinking import UNSIGNED
from tests.support.messages_requests import (
    HI,
    WEATHER,
    ask,
    assistant,
    chat_messages,
    chat_request,
    image,
    result,
    text,
    use,
    user,
)
from tests.support.openai_requests import refused

TURNS = ChatServer(system_turns=True)
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": UNSIGNED}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCkYIBxgC"}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}


def called(call_id: str, name: str = "weather", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def answer(call_id: str, content: str = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def test_the_system_prompt_is_the_first_message() -> None:
    assert chat_messages(system="Be kind.") == [{"role": "system", "content": "Be kind."}, HI]
    blocks = [text("Be kind.", cache_control={"type": "ephemeral"}), text(" \n"), text("Be brief.")]
    assert chat_messages(system=blocks)[0] == {"role": "system", "content": "Be kind.\n\nBe brief."}
    assert ask(system=blocks).omitted == ("cache_control",)


def test_the_nonce_in_the_system_prompt_does_not_spoil_the_prefix_cache() -> None:
    nonce = text("x-anthropic-billing-header: cc_version=2.1.330; cc_entrypoint=cli; cch=5f1ab;")
    assert chat_messages(system=[nonce, text("Be kind.")])[0] == {"role": "system", "content": "Be kind."}
    assert chat_messages(system=[nonce]) == [HI]
    assert chat_messages(system="x-anthropic-billing-header: cch=1;\nBe kind.")[0]["content"] == "Be kind."
    said = "x-anthropic-billing-header: is what the user asks about"
    assert chat_messages(user(text(said)))[0]["content"] == said


def test_a_system_prompt_is_text() -> None:
    assert refused(ask, system=[image()]).param == "system.0"
    assert refused(ask, system=[{"type": "text"}]).param == "system.0.text"


def test_texts_are_one_string_with_blank_lines_between_them() -> None:
    assert chat_messages(user(text("a"), text(" "), text("b"))) == [{"role": "user", "content": "a\n\nb"}]


def test_text_beside_a_picture_stays_a_part() -> None:
    [message] = chat_messages(user(text("See:"), image()))
    assert message["content"] == [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


def test_neighbours_with_the_same_role_become_one_turn() -> None:
    messages = chat_messages(HI, HI, assistant(text("a")), assistant(text("b")), HI)
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"] == "Hi\n\nHi"


def test_calls_and_text_make_one_assistant_message() -> None:
    turns = chat_messages(
        HI,
        assistant(text("Let me see."), use("toolu_1", input={"city": "Paris"}), use("toolu_2", "clock")),
        user(result("toolu_1"), result("toolu_2", "noon")),
    )
    calls = [called("toolu_1", arguments='{"city":"Paris"}'), called("toolu_2", "clock")]
    assert turns[1:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        answer("toolu_1"),
        answer("toolu_2", "noon"),
    ]


def test_an_answer_may_be_a_string_or_say_nothing_but_thoughts() -> None:
    assert chat_messages(HI, {"role": "assistant", "content": "a"}, HI)[1] == {"role": "assistant", "content": "a"}
    server = ChatServer(returned_thinking=ReturnedThinking.REASONING)
    spoken = chat_messages(HI, assistant(THOUGHT), HI, server=server)[1]
    assert spoken == {"role": "assistant", "content": "", "reasoning": "Hm."}


def test_an_answer_that_only_calls_has_null_content() -> None:
    assert chat_messages(HI, assistant(use("toolu_1")), user(result("toolu_1")))[1]["content"] is None


def test_text_split_for_citations_is_one_again_and_text_around_a_call_is_not() -> None:
    blocks = (text("The sky", citations=[{"type": "page_location"}]), text(" is blue."), use("toolu_1"), text("Done."))
    call = ask(HI, assistant(*blocks), user(result("toolu_1")))
    assert json.loads(call.body)["messages"][1]["content"] == "The sky is blue.\n\nDone."
    assert call.omitted == ("citations",)


def test_parallel_results_come_in_call_order_before_what_the_user_says() -> None:
    turns = chat_messages(
        HI,
        assistant(use("toolu_1"), use("toolu_2")),
        user(text("And?"), result("toolu_2", "b"), result("toolu_1", "a")),
    )
    assert turns[2:] == [answer("toolu_1", "a"), answer("toolu_2", "b"), {"role": "user", "content": "And?"}]


def test_results_in_several_messages_are_one_turn() -> None:
    turns = chat_messages(
        HI, assistant(use("toolu_1"), use("toolu_2")), user(result("toolu_1")), user(result("toolu_2"), text("And?"))
    )
    assert [message["role"] for message in turns] == ["user", "assistant", "tool", "tool", "user"]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ((HI, assistant(use("toolu_1")), HI), "messages.1.content.0"),
        ((HI, assistant(text("a"), use("toolu_1"), use("toolu_2")), user(result("toolu_1"))), "messages.1.content.2"),
        ((user(result("toolu_1")),), "messages.0.content.0"),
        ((HI, assistant(use("toolu_1")), user(result("toolu_1"), result("toolu_1"))), "messages.2.content.1"),
    ],
)
def test_calls_and_results_that_do_not_pair_up_are_refused_where_they_stand(messages: Any, place: str) -> None:
    assert refused(ask, *messages).param == place


def test_a_failed_call_says_so() -> None:
    turns = chat_messages(
        HI,
        assistant(use("toolu_1"), use("toolu_2")),
        user(result("toolu_1", "not found", is_error=True), result("toolu_2", "found", is_error=False)),
    )
    assert turns[2:] == [answer("toolu_1", "The tool call failed:\n\nnot found"), answer("toolu_2", "found")]


@pytest.mark.parametrize("content", ["", [], None, [text(" ")]])
def test_a_result_without_content_is_an_empty_one(content: Any) -> None:
    assert chat_messages(HI, assistant(use("toolu_1")), user(result("toolu_1", content)))[2] == answer("toolu_1", "")


def test_pictures_and_files_in_results_are_not_lost() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}}
    turns = chat_messages(
        HI,
        assistant(use("toolu_1", "look"), use("toolu_2", "read")),
        user(result("toolu_1", [text("Here:"), image()]), result("toolu_2", [pdf]), text("And?")),
    )
    note = "(See the attachment in the next message.)"
    assert turns[2:4] == [answer("toolu_1", f"Here:\n\n{note}"), answer("toolu_2", note)]
    assert turns[4]["content"] == [
        {"type": "text", "text": "Attached to the result of look (toolu_1):"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "Attached to the result of read (toolu_2):"},
        {
            "type": "file",
            "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0x"},
        },
        {"type": "text", "text": "And?"},
    ]


def test_instructions_in_the_middle_become_marked_words_of_the_users() -> None:
    later = {"role": "system", "content": "Use metres."}
    assert chat_messages(HI, later)[0]["content"] == "Hi\n\n<system>\nUse metres.\n</system>"
    turns = chat_messages(HI, assistant(use("toolu_1")), user(result("toolu_1")), later)
    assert turns[2:] == [answer("toolu_1"), {"role": "user", "content": "<system>\nUse metres.\n</system>"}]


def test_a_server_that_takes_instructions_in_the_middle_gets_them_there() -> None:
    later = {"role": "system", "content": [text("Use metres.")]}
    assert chat_messages(HI, later, server=TURNS) == [HI, {"role": "system", "content": "Use metres."}]


def test_instructions_before_all_messages_join_the_system_prompt() -> None:
    turns = chat_messages({"role": "system", "content": "Use metres."}, HI, system="Be kind.")
    assert turns == [{"role": "system", "content": "Be kind.\n\nUse metres."}, HI]


def test_an_instruction_that_a_later_user_message_voids_is_left_out() -> None:
    once = {"role": "system", "content": "For now.", "clear_at": "next_user_message"}
    always = {"role": "system", "content": "For ever.", "clear_at": "never"}
    assert "For now." in json.dumps(chat_messages(HI, once))
    later = json.dumps(chat_messages(HI, once, always, assistant(text("a")), HI))
    assert "For now." not in later
    assert "For ever." in later


def test_the_effort_of_the_last_turn_wins_over_the_requests() -> None:
    server = ChatServer(efforts=("low", "medium", "high"))

    def effort(*messages: Any) -> Any:
        return chat_request(*messages, server=server, output_config={"effort": "low"}).get("reasoning_effort")

    harder = {"role": "system", "content": "Think.", "output_config": {"effort": "high"}}
    bare = {"role": "system", "output_config": {"effort": "medium"}}
    assert effort(HI) == "low"
    assert effort(HI, harder) == "high"
    assert effort(HI, bare) == "medium"
    assert effort(HI, harder, assistant(text("a")), HI) == "low"
    bad = {"role": "system", "content": "x", "output_config": {"effort": "utmost"}}
    assert refused(ask, HI, bad).param == "output_config.effort"


def test_changes_of_the_tools_count_at_their_end() -> None:
    def change(kind: str, name: str) -> dict[str, Any]:
        return {"role": "system", "content": [{"type": kind, "tool": {"type": "tool_reference", "name": name}}]}

    tools = [WEATHER, WEATHER | {"name": "clock"}]
    inline = {"type": "tool_definition", "definition": WEATHER | {"name": "late"}}
    added = {"role": "system", "content": [{"type": "tool_addition", "tool": inline}, text("There is one more.")]}

    def offered(*messages: Any) -> list[str]:
        return [tool["function"]["name"] for tool in chat_request(HI, *messages, tools=tools).get("tools", [])]

    assert offered() == ["weather", "clock"]
    assert offered(change("tool_removal", "clock")) == ["weather"]
    assert offered(change("tool_removal", "clock"), change("tool_addition", "clock")) == ["weather", "clock"]
    assert offered(change("tool_removal", "clock"), change("tool_removal", "weather")) == []
    assert offered(added) == ["weather", "clock", "late"]
    assert "There is one more." in json.dumps(chat_messages(HI, added))
    server_tool = {"type": "tool_addition", "tool": {"type": "mcp_tool_reference", "server_name": "s", "name": "n"}}
    withdrawn = {"role": "system", "content": [server_tool]}
    assert refused(ask, HI, withdrawn).param == "messages.1.content.0.tool"
    assert ask(HI, withdrawn, drop=True).omitted == ("messages.1.content.0.tool",)


def test_thinking_of_anthropics_is_left_out_whole() -> None:
    for returned in ReturnedThinking:
        call = ask(HI, assistant(SIGNED, REDACTED, text("a")), HI, server=ChatServer(returned_thinking=returned))
        assert json.loads(call.body)["messages"][1] == {"role": "assistant", "content": "a"}
        assert call.omitted == ("thinking_blocks",)


@pytest.mark.parametrize("returned", [ReturnedThinking.REASONING_CONTENT, ReturnedThinking.REASONING])
def test_a_servers_own_thinking_goes_back_to_it_where_it_wants_it(returned: ReturnedThinking) -> None:
    turns = (
        HI,
        assistant(THOUGHT, use("toolu_1")),
        user(result("toolu_1")),
        assistant(use("toolu_2")),
        user(result("toolu_2")),
        assistant(THOUGHT, text("a")),
        HI,
        assistant(text("b")),
        HI,
    )
    call = ask(*turns, server=ChatServer(returned_thinking=returned))
    spoken = [message for message in json.loads(call.body)["messages"] if message["role"] == "assistant"]
    # A message with calls always has the field: DeepSeek refuses one without it, even if nothing was thought.
    assert [message.get(returned.value) for message in spoken] == ["Hm.", "", "Hm.", None]
    assert call.omitted == ()


def test_a_servers_own_thinking_is_left_out_for_a_server_that_does_not_want_it() -> None:
    call = ask(HI, assistant(THOUGHT, text("a")), HI)
    assert json.loads(call.body)["messages"][1] == {"role": "assistant", "content": "a"}
    assert call.omitted == ("thinking_blocks",)


def test_ids_that_a_server_made_come_back_to_it_and_long_ones_are_shortened() -> None:
    made = "functions.weather:0"
    told = "id_ZnVuY3Rpb25zLndlYXRoZXI6MA"
    turns = chat_messages(HI, assistant(use(told)), user(result(told)))
    assert turns[1]["tool_calls"][0]["id"] == turns[2]["tool_call_id"] == made
    long = "toolu_" + "x" * 60
    turns = chat_messages(HI, assistant(use(long)), user(result(long)))
    assert turns[1]["tool_calls"][0]["id"] == turns[2]["tool_call_id"]
    assert len(turns[2]["tool_call_id"]) <= 40


@pytest.mark.parametrize("block", ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "container_upload"])
def test_a_block_without_counterpart_is_refused_by_name_or_dropped(block: str) -> None:
    spoken = assistant({"type": block, "id": "x", "name": "y", "input": {}}, text("a"))
    error = refused(ask, HI, spoken, HI)
    assert (error.status, error.param) == (400, "messages.1.content.0")
    assert block in error.message
    dropped = ask(HI, spoken, HI, drop=True)
    assert dropped.omitted == ("messages.1.content.0",)
    assert json.loads(dropped.body)["messages"][1] == {"role": "assistant", "content": "a"}
