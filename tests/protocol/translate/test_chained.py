"""Two relays as one: the second alone knows what the client was told."""

import json
from typing import Any

import pytest

from protocol.errors import Refusal
from protocol.relays import Passthrough, Relay
from protocol.translate.call import Dialect, Notes, TranslatedRequest
from protocol.translate.chained import ChainedRelay
from protocol.translate.chat_stream import ChatStream
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ReturnedThinking
from protocol.translate.responses_stream import ResponsesStream
from protocol.values import Tokens
from tests.support.chat_streams import DONE, call, chunk, completion, tell
from tests.support.grammar import End, check_chat, check_responses, read_sse
from tests.support.openai_accumulators import accumulate_responses
from tests.support.openai_requests import responses

CUT = Refusal(502, "the upstream connection broke")
BEGUN = chunk({"content": "a"})
WHOLE = BEGUN + chunk({}, "stop") + DONE
ASKED = CarriedRequest(body=b"", requested_model="m", upstream_model="m", stream=True, shows_thinking=True)
REQUEST = TranslatedRequest(
    dialect=Dialect.RESPONSES,
    body=b"",
    requested_model="gpt-5",
    upstream_model="m",
    stream=True,
    notes=Notes(echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}),
)


def chained(second: Relay | None = None) -> ChainedRelay:
    return ChainedRelay(MessagesFromChat(ASKED, identity="req_1"), second or ResponsesStream(REQUEST, created=1))


def test_a_whole_answer_goes_through_both() -> None:
    relay = chained()
    written = relay.feed(WHOLE)
    assert check_responses(written) is End.COMPLETE
    assert relay.complete
    assert relay.finish() == relay.abort(CUT) == b""
    assert not relay.failed


def test_the_model_is_the_one_that_the_client_in_front_asked_for() -> None:
    assert accumulate_responses(chained().feed(WHOLE))["model"] == "gpt-5"


def test_every_read_is_answered_at_once() -> None:
    relay = chained()
    assert [event for event, _ in read_sse(relay.feed(BEGUN))][-1] == "response.output_text.delta"
    assert relay.feed(BEGUN[:20]) == b""


@pytest.mark.parametrize("second", [None, ChatStream(REQUEST, created=1)], ids=["responses", "chat"])
def test_an_error_upstream_is_told_in_the_clients_words_and_once(second: Relay | None) -> None:
    relay = chained(second)
    error = b'data: {"error":{"message":"Busy","code":"server_is_overloaded"}}\n\n'
    written = relay.feed(BEGUN + error)
    assert relay.failed
    written += relay.finish()
    assert (check_chat if second else check_responses)(written) is End.FAILED
    assert b'"server_is_overloaded"' in written
    assert b"Busy" in written
    assert not relay.complete


def test_a_cut_and_an_early_end_are_told_in_the_clients_words_and_once() -> None:
    for told in (b"", BEGUN):
        for end in ("finish", "abort"):
            relay = chained()
            written = relay.feed(told)
            written += relay.finish() if end == "finish" else relay.abort(CUT) or b""
            assert check_responses(written) is End.FAILED
            assert relay.failed
            assert relay.finish() == relay.abort(CUT) == b""


def test_a_client_that_was_told_of_a_failure_is_told_nothing_more() -> None:
    relay = chained()
    relay.feed(b"data: {\n\n")
    assert relay.failed
    assert relay.feed(WHOLE) == b""
    assert relay.comment() is None


def test_a_comment_is_what_the_second_says() -> None:
    relay = chained()
    assert relay.comment() == b": keep-alive\n\n"
    relay.feed(WHOLE)
    assert relay.comment() is None


def test_what_the_answer_cost_is_what_the_upstream_says() -> None:
    relay = chained()
    assert relay.tokens is None
    relay.feed(chunk({"content": "a"}, usage={"prompt_tokens": 9, "completion_tokens": 2}))
    assert relay.tokens == Tokens(input=9, output=2, cache_creation=0, cache_read=0)


def test_a_first_without_words_for_an_error_leaves_it_to_the_second() -> None:
    relay = ChainedRelay(Passthrough(), ResponsesStream(REQUEST, created=1))
    assert check_responses(relay.abort(CUT) or b"") is End.FAILED
    assert relay.failed


def test_where_neither_has_words_the_response_just_ends() -> None:
    relay = ChainedRelay(Passthrough(), Passthrough())
    assert relay.feed(b"a") == b"a"
    assert relay.abort(CUT) is None
    assert not relay.failed


def test_a_responses_client_hands_a_chat_servers_thinking_back_to_it() -> None:
    """What DeepSeek and Moonshot insist on: the reasoning of a turn with calls comes back with it."""
    server = ChatServer(returned_thinking=ReturnedThinking.REASONING_CONTENT)

    def ask(*items: Any) -> tuple[TranslatedRequest, CarriedRequest]:
        tool = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
        asked = responses(
            *items,
            model="claude-opus-4-8",
            stream=True,
            tools=[tool],
            reasoning={"effort": "high"},
            include=["reasoning.encrypted_content"],
        )
        return asked, carry_onto_chat(asked.body, resolve=lambda model: "served", server=server)

    question = {"role": "user", "content": "How is it in Paris?"}
    asked, called = ask(question)
    relay = ChainedRelay(MessagesFromChat(called, identity="req_1"), ResponsesStream(asked, created=1))
    answer = completion("tool_calls", reasoning_content="Let me look.", tool_calls=[call("weather", '{"a": 1}')])
    output = accumulate_responses(relay.feed(tell(answer)))["output"]
    _, again = ask(question, *output, {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."})
    spoken = json.loads(again.body)["messages"][1]
    assert spoken["reasoning_content"] == "Let me look."
    assert spoken["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"a":1}'}
