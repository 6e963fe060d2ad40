"""A server of Chat Completions behind the Messages API: nothing carried is lost, every stream is legal and honest."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import CORPUS, fuzz_completion_stream, fuzz_response_stream
from protocol.errors import Refusal
from protocol.relays import Relay
from protocol.translate.call import Dialect, Notes, TranslatedRequest, TranslationOptions
from protocol.translate.chained import ChainedRelay
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.chat_response import translate_chat_response
from protocol.translate.chat_stream import ChatStream
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_response import message_from_completion
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.translate.onto_openai.estimate import estimated_tokens
from protocol.translate.onto_openai.ids import LONGEST, client_id, server_id
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.responses_response import message_from_response
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ResponsesServer, ReturnedThinking
from protocol.translate.responses_request import translate_responses_request
from protocol.translate.responses_response import translate_responses_response
from protocol.translate.responses_stream import ResponsesStream
from tests.properties.test_request_translation import anthropic_id, outcome, replace_somewhere, values
from tests.protocol.translate.onto_openai.test_golden import GOLDEN, request_of
from tests.support.anthropic_accumulator import accumulate_message
from tests.support.anthropic_streams import Story, stories
from tests.support.anthropic_streams import messages as anthropic_messages
from tests.support.anthropic_streams import tell as tell_message
from tests.support.chat_streams import Answer, answers, frame
from tests.support.grammar import End, check_anthropic, check_chat, check_responses
from tests.support.messages_requests import assistant, described, result, use, user
from tests.support.openai_accumulators import accumulate_responses
from tests.support.openai_requests import SONNET, body_of, model_table
from tests.support.splits import byte_by_byte, cut_points, split

CREATED = 1_790_000_000
SLOWLY = 1_000
"""How much of a stream arrives byte by byte."""

NAMES = ("get_weather", "run", "a_short_name")
CUT = Refusal(502, "the upstream connection broke")
RESPONSES = TranslatedRequest(
    dialect=Dialect.RESPONSES,
    body=b"",
    requested_model="gpt-5",
    upstream_model="served-model",
    stream=True,
    notes=Notes(encrypted_reasoning=True, echo={"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}),
)


def calls() -> st.SearchStrategy[CarriedRequest]:
    return st.builds(
        CarriedRequest,
        body=st.just(b"{}"),
        requested_model=st.sampled_from(["claude-opus-5-5", 'an "odd" name']),
        upstream_model=st.just("served-model"),
        stream=st.just(True),
        tools=st.sampled_from([{}, {"a_short_name": "a_name_that_was_too_long"}]),
        shows_thinking=st.booleans(),
    )


def relay(call: CarriedRequest) -> MessagesFromChat:
    return MessagesFromChat(call, identity="req_1")


def relayed(stream: Relay, reads: list[bytes]) -> bytes:
    return b"".join(stream.feed(read) for read in reads) + stream.finish()


# --- answers ----------------------------------------------------------------------------------------------------------


@given(answer=answers(NAMES), call=calls())
def test_a_stream_adds_up_to_the_whole_message(answer: Answer, call: CarriedRequest) -> None:
    stream = relay(call)
    written = relayed(stream, [answer.stream])
    assert check_anthropic(written) is End.COMPLETE
    assert stream.complete
    assert not stream.failed
    assert accumulate_message(written) == json.loads(message_from_completion(answer.body, call, identity="req_1"))


@given(answer=answers(NAMES), call=calls(), cuts=cut_points())
def test_a_stream_ignores_read_boundaries(answer: Answer, call: CarriedRequest, cuts: list[int]) -> None:
    whole = relayed(relay(call), [answer.stream])
    assert relayed(relay(call), split(answer.stream, cuts)) == whole
    slowly = [*byte_by_byte(answer.stream[:SLOWLY]), answer.stream[SLOWLY:]]
    assert relayed(relay(call), slowly) == whole


@given(answer=answers(NAMES), call=calls(), at=st.integers(0, 1 << 16), aborted=st.booleans())
def test_a_stream_that_is_cut_before_it_is_told_ends_with_an_error(
    answer: Answer, call: CarriedRequest, at: int, aborted: bool
) -> None:
    stream = relay(call)
    written = stream.feed(answer.stream[: at % len(answer.stream)])
    told = stream.complete
    written += stream.abort(CUT) if aborted else stream.finish()
    assert check_anthropic(written) is (End.FAILED if stream.failed else End.COMPLETE)
    # A server that leaves [DONE] out may end its body once it has said how the answer ended.
    assert stream.failed or told or (not aborted and b"message_stop" in written)
    assert stream.complete is not stream.failed


@given(answer=answers(NAMES), call=calls(), at=st.integers(0, 1 << 16))
def test_an_upstream_error_ends_a_stream_wherever_it_comes(answer: Answer, call: CarriedRequest, at: int) -> None:
    events = answer.stream.replace(b"\r\n", b"\n").split(b"\n\n")
    error = frame({"error": {"message": "Busy", "type": "server_error", "code": "server_is_overloaded"}})
    events.insert(at % (len(events) - 1), error[:-2])
    stream = relay(call)
    written = relayed(stream, [b"\n\n".join(events)])
    assert check_anthropic(written) is End.FAILED
    assert stream.failed
    assert b'"overloaded_error","message":"Busy"' in written


CHECKS = {"completion_stream": fuzz_completion_stream.check, "response_stream": fuzz_response_stream.check}
SEEDS = [(name, path) for name in CHECKS for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@given(data=st.binary(max_size=24))
def test_any_bytes_give_a_legal_stream_or_a_legal_failure(check: Callable[[bytes], None], data: bytes) -> None:
    check(data)


@pytest.mark.parametrize(("name", "path"), SEEDS, ids=[f"{name}-{path.name}" for name, path in SEEDS])
def test_the_stream_corpora_hold(name: str, path: Path) -> None:
    CHECKS[name](path.read_bytes())


@pytest.mark.parametrize("read", [message_from_completion, message_from_response])
@given(body=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()), call=calls())
@example(body=b'{"choices":[{"message":{"content":' + b"[" * 3000, call=CarriedRequest(
    body=b"", requested_model="m", upstream_model="m", stream=False
))  # fmt: skip
def test_any_body_gives_a_message_or_a_refusal(read: Callable[..., bytes], body: bytes, call: CarriedRequest) -> None:
    refusal, message = outcome(lambda: read(body, call, identity="req_1"))
    assert refusal is not None or json.loads(message)["type"] == "message"


@given(status=st.integers(100, 999), body=st.binary(max_size=80) | values.map(lambda value: json.dumps(value).encode()))
def test_any_error_response_is_an_error_with_a_kind_and_a_message(status: int, body: bytes) -> None:
    refusal = openai_refusal(status, body)
    assert 400 <= refusal.status <= 599
    assert refusal.kind
    assert refusal.message


@given(message=anthropic_messages(NAMES))
def test_what_this_router_says_as_chat_completions_it_reads_back(message: dict[str, Any]) -> None:
    asked = TranslatedRequest(
        dialect=Dialect.CHAT, body=b"", requested_model="m", upstream_model="m", stream=True, include_usage=True
    )
    call = CarriedRequest(body=b"", requested_model="m", upstream_model="m", stream=True)
    chat = translate_chat_response(json.dumps(message).encode(), asked, created=CREATED)
    back = json.loads(message_from_completion(chat, call, identity="req_1"))
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    assert [(block["name"], block["input"]) for block in back["content"] if block["type"] == "tool_use"] == [
        (block["name"], block["input"]) for block in calls
    ]
    known = message["stop_reason"] != "a_reason_of_tomorrow"
    if known and not calls and message["stop_reason"] != "stop_sequence":
        assert back["stop_reason"] == message["stop_reason"]
    counts = {name: message["usage"].get(name) or 0 for name in ("input_tokens", "output_tokens")}
    assert {name: back["usage"][name] for name in counts} == counts
    told = ChatStream(asked, created=CREATED)
    stream = MessagesFromChat(call, identity="req_1")
    written = relayed(stream, [relayed(told, [tell_message(message)])])
    assert accumulate_message(written)["stop_reason"] == back["stop_reason"]
    assert accumulate_message(written)["usage"] == back["usage"]


# --- a server of the Responses API -----------------------------------------------------------------------------------


def responses_relay(call: CarriedRequest) -> MessagesFromResponses:
    return MessagesFromResponses(call, identity="req_1")


@given(story=stories(NAMES), call=calls(), cuts=cut_points())
def test_a_responses_stream_adds_up_to_the_whole_message(story: Story, call: CarriedRequest, cuts: list[int]) -> None:
    told, whole = as_responses(story)
    stream = responses_relay(call)
    written = relayed(stream, split(told, cuts))
    assert check_anthropic(written) is End.COMPLETE
    assert not stream.failed
    message = json.loads(message_from_response(whole, call, identity="req_1"))
    assert accumulate_message(written) == message
    assert message["usage"].get("output_tokens") == story.message["usage"]["output_tokens"]
    assert relayed(responses_relay(call), [told]) == written


@given(story=stories(NAMES), call=calls(), at=st.integers(0, 1 << 16), aborted=st.booleans())
def test_a_responses_stream_that_is_cut_ends_with_an_error(
    story: Story, call: CarriedRequest, at: int, aborted: bool
) -> None:
    told, _ = as_responses(story)
    stream = responses_relay(call)
    written = stream.feed(told[: at % (len(told) - 1)])
    written += stream.abort(CUT) if aborted else stream.finish()
    assert check_anthropic(written) is End.FAILED
    assert stream.failed


@given(story=stories(("get_weather", "run")))
def test_what_this_router_says_as_responses_it_reads_back(story: Story) -> None:
    call = CarriedRequest(body=b"", requested_model="m", upstream_model="m", stream=True, shows_thinking=True)
    _, whole = as_responses(story)
    back = json.loads(message_from_response(whole, call, identity="req_1"))
    blocks = story.message["content"]
    inputs = [block["input"] for block in blocks if block["type"] == "tool_use"]
    assert [block["input"] for block in back["content"] if block["type"] == "tool_use"] == inputs
    thoughts = [block.get("thinking", "") for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    assert [block["thinking"] for block in back["content"] if block["type"] == "thinking"] == thoughts
    if story.message["stop_reason"] != "a_reason_of_tomorrow" and not inputs:
        assert back["stop_reason"] == story.message["stop_reason"]
    assert back["usage"]["input_tokens"] == story.message["usage"]["input_tokens"]


@given(story=stories(NAMES), call=calls(), cuts=cut_points())
def test_a_chat_client_is_served_by_a_responses_server(story: Story, call: CarriedRequest, cuts: list[int]) -> None:
    told, _ = as_responses(story)
    asked = TranslatedRequest(
        dialect=Dialect.CHAT, body=b"", requested_model="gpt-5", upstream_model="m", stream=True, include_usage=True
    )
    stream = ChainedRelay(responses_relay(call), ChatStream(asked, created=CREATED))
    written = relayed(stream, split(told, cuts))
    assert check_chat(written, include_usage=True) is End.COMPLETE
    assert stream.complete


def as_responses(story: Story) -> tuple[bytes, bytes]:
    """A story as a server of the Responses API would tell it: the stream, and the whole."""
    stream = relayed(ResponsesStream(RESPONSES, created=CREATED), [story.stream])
    return stream, translate_responses_response(story.body, RESPONSES, created=CREATED)


# --- a Responses client in front --------------------------------------------------------------------------------------


def chained(call: CarriedRequest) -> ChainedRelay:
    return ChainedRelay(relay(call), ResponsesStream(RESPONSES, created=CREATED))


@given(answer=answers(NAMES), call=calls(), cuts=cut_points())
def test_a_chained_stream_ends_with_the_whole_response(answer: Answer, call: CarriedRequest, cuts: list[int]) -> None:
    stream = chained(call)
    written = relayed(stream, split(answer.stream, cuts))
    assert check_responses(written) is End.COMPLETE
    assert stream.complete
    assert not stream.failed
    message = message_from_completion(answer.body, call, identity="req_1")
    assert accumulate_responses(written) == json.loads(
        translate_responses_response(message, RESPONSES, created=CREATED)
    )


@given(answer=answers(NAMES), call=calls(), at=st.integers(0, 1 << 16), aborted=st.booleans())
def test_a_chained_stream_that_is_cut_ends_as_failed(
    answer: Answer, call: CarriedRequest, at: int, aborted: bool
) -> None:
    stream = chained(call)
    written = stream.feed(answer.stream[: at % len(answer.stream)])
    told = stream.complete
    written += (stream.abort(CUT) or b"") if aborted else stream.finish()
    assert check_responses(written) is (End.FAILED if stream.failed else End.COMPLETE)
    assert stream.failed is not stream.complete
    assert stream.failed or told or not aborted


# --- requests ---------------------------------------------------------------------------------------------------------

words = st.text(min_size=1, max_size=12).filter(str.strip)
chat_servers = st.builds(
    ChatServer,
    output_tokens=st.none() | st.integers(1, 4000),
    efforts=st.sampled_from([(), ("low", "medium", "high"), ("none", "minimal", "low", "medium", "high", "xhigh")]),
    returned_thinking=st.sampled_from(ReturnedThinking),
    top_k=st.booleans(),
    stop_sequences=st.none() | st.just(4),
    system_turns=st.booleans(),
)
servers = chat_servers | st.builds(
    ResponsesServer,
    efforts=st.sampled_from([(), ("low", "medium", "high")]),
    summaries=st.booleans(),
    encrypted_reasoning=st.booleans(),
)


def carried(body: bytes, server: ChatServer | ResponsesServer, drop: bool = False) -> CarriedRequest:
    if isinstance(server, ChatServer):
        return carry_onto_chat(body, resolve=lambda model: "served", server=server, drop_unsupported=drop)
    return carry_onto_responses(body, resolve=lambda model: "served", server=server, drop_unsupported=drop)


def carried_or_refused(body: bytes, server: ChatServer | ResponsesServer, drop: bool) -> CarriedRequest | None:
    """The translation, or None where it was refused with one of the documented statuses."""
    refusal, call = outcome(lambda: carried(body, server, drop))
    if refusal is not None:
        assert refusal.status == 400
        return None
    assert json.loads(call.body)["model"] == "served"
    assert isinstance(call, CarriedRequest)
    return call


@given(body=st.binary() | values.map(lambda value: json.dumps(value).encode()), server=servers, drop=st.booleans())
@example(body=b"[" * 100_000, server=ChatServer(), drop=False)
@example(
    body=b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\\ud800"}]}',
    server=ChatServer(),
    drop=False,
)
def test_any_bytes_give_a_request_or_a_documented_refusal(
    body: bytes, server: ChatServer | ResponsesServer, drop: bool
) -> None:
    carried_or_refused(body, server, drop)
    refusal, tokens = outcome(lambda: estimated_tokens(body))
    assert tokens > 0 if refusal is None else refusal.status == 400


@given(data=st.data(), name=st.sampled_from(GOLDEN), server=servers, drop=st.booleans())
def test_a_real_request_with_any_part_replaced_gives_a_request_or_a_documented_refusal(
    data: st.DataObject, name: str, server: ChatServer | ResponsesServer, drop: bool
) -> None:
    request = request_of(name)
    replace_somewhere(request, data)
    carried_or_refused(json.dumps(request).encode(), server, drop)


@pytest.mark.parametrize("server", [ChatServer(), ResponsesServer()], ids=["chat", "responses"])
@pytest.mark.parametrize("depth", [50, *range(100, 700, 50), 900, 2000])
def test_depth_ends_in_a_refusal_before_the_stack_does(depth: int, server: ChatServer | ResponsesServer) -> None:
    schema = '{"type":"object","properties":{"a":' * depth + '{"type":"string"}' + "}}" * depth
    form = f'{{"type":"json_schema","schema":{schema}}}'
    request = '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"output_config":{"format":' + form
    translated = carried_or_refused((request + "}}").encode(), server, drop=False)
    # In between it is a matter of how much stack the caller left.
    assert translated or depth > 50
    assert not translated or depth < 900


@given(server_made=st.text(min_size=1, max_size=LONGEST))
def test_a_server_gets_the_id_of_its_call_back_as_it_made_it(server_made: str) -> None:
    assert anthropic_id(client_id(server_made))
    assert server_id(client_id(server_made)) == server_made


@given(ids=st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_ids_stay_distinct_and_short_enough(ids: list[str]) -> None:
    assert len({client_id(one) for one in ids}) == len({server_id(client_id(one)) for one in ids}) == len(ids)
    assert all(len(server_id(client_id(one))) <= LONGEST for one in ids)


user_blocks = st.one_of(
    words.map(lambda said: {"type": "text", "text": said}),
    st.sampled_from(["image/png", "image/webp"]).map(
        lambda kind: {"type": "image", "source": {"type": "base64", "media_type": kind, "data": "AAAA"}}
    ),
    st.just({"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}),
    words.map(
        lambda title: {
            "type": "document",
            "title": title,
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        }
    ),
)
tool_inputs = st.dictionaries(st.text(max_size=6), values, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns with parallel calls, their results in any order and before what else the user says."""
    messages: list[dict[str, Any]] = []
    results: list[Any] = []
    for turn in range(draw(st.integers(1, 4))):
        said = draw(st.lists(user_blocks, min_size=0 if results else 1, max_size=3))
        messages.append(user(*draw(st.permutations(results)), *said))
        names = draw(st.lists(st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True), max_size=3))
        uses = [use(f"toolu_{turn}_{at}", name, input=draw(tool_inputs)) for at, name in enumerate(names)]
        results = [result(made["id"], draw(words)) for made in uses]
        spoken = draw(st.lists(words, min_size=0 if uses else 1, max_size=1))
        messages.append(assistant(*({"type": "text", "text": one} for one in spoken), *uses))
    messages.append(user(*draw(st.permutations(results)), {"type": "text", "text": draw(words)}))
    return messages


parameters = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 64_000)},
    optional={
        "system": words | st.lists(words.map(lambda said: {"type": "text", "text": said}), min_size=1, max_size=3),
        "temperature": st.floats(0, 1),
        "stop_sequences": st.lists(words, min_size=1, max_size=4),
        "stream": st.booleans(),
        "metadata": st.text("abc-", min_size=1, max_size=64).map(lambda user_id: {"user_id": user_id}),
        "tools": st.lists(
            st.builds(
                lambda name, described: (
                    {"name": name, "input_schema": {"type": "object", "properties": {}}} | described
                ),
                st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True),
                st.sampled_from([{}, {"description": "Does it."}]),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda tool: tool["name"],
        ),
        "output_config": st.just(
            {
                "format": {
                    "type": "json_schema",
                    "schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                }
            }
        ),
    },
)


@given(
    messages=conversations(), fields=parameters, choice=st.sampled_from(["auto", "any", "none"]), alone=st.booleans()
)
def test_what_is_carried_comes_back_through_the_other_direction(
    messages: list[dict[str, Any]], fields: dict[str, Any], choice: str, alone: bool
) -> None:
    request = {"model": "claude-opus-5-5", "messages": messages} | fields
    if "tools" in fields:
        request["tool_choice"] = {"type": choice}
        if alone and choice != "none":
            request["tool_choice"]["disable_parallel_tool_use"] = True
    call = carry_onto_chat(
        json.dumps(request).encode(), resolve=lambda model: SONNET, server=ChatServer(), drop_unsupported=False
    )
    assert call.omitted == ()
    described(call)
    back = body_of(translate_chat_request(call.body, models=model_table(), options=TranslationOptions()))
    assert said(back) == said(request)
    same = ("max_tokens", "temperature", "stop_sequences", "metadata", "output_config", "tools", "tool_choice")
    kept = {name: request[name] for name in same if name in request}
    if "tools" not in fields:  # a conversation with calls declares them on its way back
        back.pop("tools", None)
        back.pop("tool_choice", None)
    assert {name: back[name] for name in same if name in back} == kept
    assert back.get("stream", False) == fields.get("stream", False)


@given(messages=conversations(), fields=parameters, choice=st.sampled_from(["auto", "any", "none"]))
def test_what_is_carried_onto_responses_comes_back_through_the_other_direction(
    messages: list[dict[str, Any]], fields: dict[str, Any], choice: str
) -> None:
    fields = {name: value for name, value in fields.items() if name != "stop_sequences"}
    request = {"model": "claude-opus-5-5", "messages": messages} | fields | {"max_tokens": fields["max_tokens"] + 16}
    if "tools" in fields:
        request["tool_choice"] = {"type": choice}
    call = carry_onto_responses(
        json.dumps(request).encode(), resolve=lambda model: SONNET, server=ResponsesServer(), drop_unsupported=False
    )
    assert call.omitted == ()
    back = body_of(translate_responses_request(call.body, models=model_table(), options=TranslationOptions()))
    assert said(back) == said(request)
    same = ("max_tokens", "temperature", "metadata", "output_config", "tools", "tool_choice")
    if "tools" not in fields:
        back.pop("tools", None)
        back.pop("tool_choice", None)
    assert {name: back[name] for name in same if name in back} == {
        name: request[name] for name in same if name in request
    }


def said(request: dict[str, Any]) -> list[Any]:
    """What a Messages request says: neighbouring texts are one, results stand in the order of the calls."""
    system = request.get("system", [])
    texts = [system] if isinstance(system, str) else [block["text"] for block in system]
    told: list[Any] = [("system", "\n\n".join(texts))] if texts else []
    ids: list[str] = []
    for message in request["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        given = {block["tool_use_id"]: block for block in blocks if block["type"] == "tool_result"}
        told += [("result", one, given[one]["content"]) for one in ids]
        ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        rest = [block for block in blocks if block["type"] != "tool_result"]
        if all(block["type"] == "text" for block in rest) and rest:
            rest = [{"type": "text", "text": "\n\n".join(block["text"] for block in rest)}]
        told += [(message["role"], block) for block in rest]
    return told


@given(messages=conversations(), server=chat_servers)
def test_every_call_is_answered_in_order_before_anything_else_is_said(
    messages: list[dict[str, Any]], server: ChatServer
) -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()
    call = carry_onto_chat(body, resolve=lambda model: "served", server=server, drop_unsupported=False)
    asked = described(call)["messages"]
    for at, message in enumerate(asked):
        ids = [made["id"] for made in message.get("tool_calls", [])]
        assert [answer.get("tool_call_id") for answer in asked[at + 1 : at + 1 + len(ids)]] == ids
    spoken = [message["role"] for message in asked if message["role"] != "tool"]
    assert all(role != following or role == "assistant" for role, following in pairwise(spoken))
