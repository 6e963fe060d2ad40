"""OpenAI requests on their way in: nothing carried is lost, and nothing but a documented refusal comes of nonsense."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anthropic
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.effort import BUDGETS, REASONING_EFFORTS
from protocol.translate.reasoning import decode_reasoning, encode_reasoning
from protocol.translate.responses_request import translate_responses_request
from protocol.translate.schema import closed_schema
from tests.protocol.translate.test_golden_requests import GOLDEN, request_of
from tests.support.openai_requests import (
    HAIKU,
    MODELS,
    OPUS,
    SONNET,
    body_of,
    call,
    calling,
    chat,
    chat_body,
    model_table,
    responses,
    result,
)

Translate = Callable[..., TranslatedRequest]
TRANSLATORS = {"chat": translate_chat_request, "responses": translate_responses_request}

words = st.text(min_size=1, max_size=12).filter(str.strip)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@pytest.mark.parametrize("translate", TRANSLATORS.values(), ids=TRANSLATORS)
@given(body=st.binary() | values.map(lambda value: json.dumps(value).encode()), drop=st.booleans())
@example(body=b"[" * 100_000, drop=False)
@example(body=b'{"model":"gpt-4o","messages":[{"role":"user","content":"\\ud800"}]}', drop=False)
@example(body=b'{"model":"gpt-4o","input":"hi","top_p":1e999}', drop=False)
@example(body=b'{"model":"gpt-4o","messages":[' + b'{"content":' * 900 + b"1" + b"}" * 900 + b"]}", drop=True)
@example(body=b'{"model":"gpt-4o","input":"hi","thinking":{"a":' + b"9" * 5000 + b"}}", drop=True)
def test_any_bytes_give_a_translation_or_a_documented_refusal(translate: Translate, body: bytes, drop: bool) -> None:
    translated_or_refused(translate, body, drop)


@given(data=st.data(), name=st.sampled_from(GOLDEN), drop=st.booleans())
def test_a_real_request_with_any_part_replaced_gives_a_translation_or_a_documented_refusal(
    data: st.DataObject, name: str, drop: bool
) -> None:
    request = request_of(name)
    replace_somewhere(request, data)
    translated_or_refused(TRANSLATORS[name.partition("_")[0]], json.dumps(request).encode(), drop)


@pytest.mark.parametrize("translate", TRANSLATORS.values(), ids=TRANSLATORS)
@pytest.mark.parametrize("depth", [50, *range(100, 700, 25), 900, 2000])
def test_depth_ends_in_a_refusal_before_the_stack_does(translate: Translate, depth: int) -> None:
    schema = '{"type":"object","properties":{"a":' * depth + '{"type":"string"}' + "}}" * depth
    form = f'{{"type":"json_schema","name":"x","schema":{schema}}}'
    request = (
        '{"model":"o3","messages":[{"role":"user","content":"x"}],"response_format":' + form + "}"
        if translate is translate_chat_request
        else '{"model":"o3","input":"x","text":{"format":' + form + "}}"
    )
    translated = translated_or_refused(translate, request.encode(), drop=False)
    # In between it is a matter of how much stack the caller left.
    assert translated or depth > 50
    assert not translated or depth < 900


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chat messages: instructions, then turns; results of parallel calls in any order."""
    messages: list[dict[str, Any]] = [
        {"role": draw(st.sampled_from(["system", "developer"])), "content": draw(words)}
        for _ in range(draw(st.integers(0, 2)))
    ]
    for turn in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(words | st.lists(parts, min_size=1, max_size=3))})
        names = draw(st.lists(st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True), max_size=3))
        calls = [call(f"call_{turn}_{index}", name, json.dumps(draw(arguments))) for index, name in enumerate(names)]
        said = draw(st.none() | words)
        if calls:
            messages.append({"role": "assistant", "content": said, "tool_calls": calls})
            results = [result(made["id"], draw(words)) for made in calls]
            messages.extend(draw(st.permutations(results)))
        elif said is not None:
            messages.append({"role": "assistant", "content": said})
    return messages


parts = st.one_of(
    words.map(lambda text: {"type": "text", "text": text}),
    st.sampled_from(["image/png", "image/jpeg", "image/gif", "image/webp"]).map(
        lambda media_type: {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,AAAA"}}
    ),
    st.just({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}),
    words.map(
        lambda name: {"type": "file", "file": {"filename": name, "file_data": "data:application/pdf;base64,JVBERi0x"}}
    ),
)
arguments = st.dictionaries(st.text(max_size=6), values, max_size=3)


@given(messages=conversations())
def test_a_conversation_can_be_read_back_from_turns_that_follow_the_grammar(messages: list[dict[str, Any]]) -> None:
    body = chat_body(*messages)
    assert inverse(body) == canonical(messages)
    turns = body["messages"]
    assert all(turn["role"] != following["role"] for turn, following in pairwise(turns))
    for turn, following in pairwise([*turns, {"content": []}]):
        calls = [block["id"] for block in blocks(turn) if block["type"] == "tool_use"]
        answers = [block.get("tool_use_id") for block in blocks(following)[: len(calls)]]
        assert calls == answers


@given(ids=st.lists(st.text(max_size=20), min_size=1, max_size=5, unique=True))
def test_tool_ids_stay_distinct_and_valid_ones_stay_themselves(ids: list[str]) -> None:
    turns = chat_body(calling(*(call(call_id) for call_id in ids)), *(result(call_id, call_id) for call_id in ids))
    calls, results = turns["messages"][0]["content"], turns["messages"][1]["content"]
    assert [block["id"] for block in calls] == [block["tool_use_id"] for block in results]
    assert [block.get("content", "") for block in results] == ids
    upstream = [block["id"] for block in calls]
    assert len(set(upstream)) == len(ids)
    for call_id, upstream_id in zip(ids, upstream, strict=True):
        assert anthropic_id(upstream_id)
        if anthropic_id(call_id):
            assert upstream_id == call_id


@given(
    tools=st.lists(st.tuples(st.text(min_size=1, max_size=150), st.text(min_size=1, max_size=70)), unique=True),
    functions=st.lists(st.text(min_size=1, max_size=150), unique=True),
)
@example(tools=[("crm", "find"), ("crm_", "_find")], functions=["crm__find", "crm__find_2"])
def test_flattened_tool_names_are_valid_distinct_and_lead_back(
    tools: list[tuple[str, str]], functions: list[str]
) -> None:
    namespaces = [
        {"type": "namespace", "name": namespace, "description": "", "tools": [{"type": "function", "name": name}]}
        for namespace, name in tools
    ]
    translated = responses(tools=[*namespaces, *({"type": "function", "name": name} for name in functions)])
    declared = body_of(translated).get("tools", [])
    names = [tool["name"] for tool in declared]
    assert len(set(names)) == len(names) == len(tools) + len(functions)
    assert all(anthropic_id(name) and len(name) <= 128 for name in names)
    wanted: list[tuple[str | None, str]] = [*tools, *((None, name) for name in functions)]
    for upstream, (namespace, name) in zip(names, wanted, strict=True):
        known = translated.notes.tools.get(upstream)
        assert (known.namespace, known.name) == (namespace, name) if known else (None, upstream) == (namespace, name)


@given(temperature=st.floats(0, 1), top_p=st.floats(0, 1, exclude_max=True))
def test_numbers_are_kept_as_written(temperature: float, top_p: float) -> None:
    assert chat_body(temperature=temperature)["temperature"] == temperature
    assert chat_body(top_p=top_p)["top_p"] == top_p


@given(value=arguments, indent=st.none() | st.integers(0, 3))
def test_arguments_are_kept_byte_for_byte(value: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "ignore").decode()
    assume(json.loads(text) == value)
    translated = chat(calling(call("a", arguments=text)), result("a"))
    assert b'"input":' + text.encode() in translated.body


@given(
    effort=st.sampled_from(REASONING_EFFORTS),
    max_tokens=st.none() | st.integers(1, 200_000),
    model=st.sampled_from([HAIKU, SONNET, OPUS, "claude-opus-4-1", "claude-3-haiku-20240307", "gpt-5"]),
    temperature=st.none() | st.floats(0, 2),
)
def test_a_thinking_budget_is_valid_and_below_max_tokens(
    effort: str, max_tokens: int | None, model: str, temperature: float | None
) -> None:
    body = chat_body(model=model, reasoning_effort=effort, max_tokens=max_tokens, temperature=temperature)
    thinking = body.get("thinking", {})
    if "budget_tokens" in thinking:
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]
        assert thinking["budget_tokens"] <= BUDGETS[effort]
    assert not (thinking and "temperature" in body)


leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "string", "format": "date"},
        {"type": "string", "description": "a word"},
        {"enum": ["a", 1, None]},
        {"const": "x"},
        {"$ref": "#/$defs/thing"},
    ]
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)[:1]}
        ),
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1}),
        st.lists(inner, min_size=1, max_size=3).map(lambda variants: {"anyOf": variants, "title": "One of"}),
        st.lists(inner, min_size=1, max_size=3).map(lambda variants: {"oneOf": variants}),
        st.lists(inner, min_size=1, max_size=3).map(lambda variants: {"allOf": variants}),
        inner.map(lambda thing: {"$defs": {"thing": thing}, "$ref": "#/$defs/thing"}),
    ),
)


@given(schema=schemas)
def test_schemas_become_what_anthropics_own_sdk_makes_of_them(schema: dict[str, Any]) -> None:
    assert closed_schema(schema, "schema") == anthropic.transform_schema(schema)


@given(schema=schemas)
def test_a_closed_schema_stays_as_it_is(schema: dict[str, Any]) -> None:
    closed = closed_schema(schema, "schema")
    assert closed_schema(closed, "schema") == closed


@given(thinking=st.text(), signature=st.text(), extra=st.dictionaries(st.text(), values, max_size=2))
def test_encrypted_reasoning_gives_the_block_back(thinking: str, signature: str, extra: dict[str, Any]) -> None:
    block = extra | {"type": "thinking", "thinking": thinking, "signature": signature}
    assert decode_reasoning(encode_reasoning(block)) == block


@given(text=st.text() | st.text().map("anthropic-thinking.v1.".__add__))
def test_foreign_or_damaged_reasoning_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"another provider|damaged|no thinking block"):
        decode_reasoning(text)


@given(text=st.text(alphabet="abcdgpt-4o*=, \n"), name=st.text(alphabet="abcdgpt-4o*"))
def test_any_model_map_is_read_or_refused_and_any_name_resolved_or_not_found(text: str, name: str) -> None:
    try:
        table = model_table(text)
    except ValueError:
        return
    refusal, target = outcome(lambda: table.resolve(name))
    assert (refusal.status, refusal.code) == (404, "model_not_found") if refusal else target in text


def outcome(ask: Callable[[], Any]) -> tuple[Refusal | None, Any]:
    """The refusal or the answer; any other exception is a failure."""
    try:
        return None, ask()
    except Refusal as refusal:
        return refusal, None


def translated_or_refused(translate: Translate, body: bytes, drop: bool) -> bool:
    """Whether it was translated, and not refused with one of the documented statuses."""
    options = TranslationOptions(drop_unsupported=drop)
    refusal, translated = outcome(lambda: translate(body, models=MODELS, options=options))
    if refusal is not None:
        assert refusal.status in (400, 404)
        return False
    assert json.loads(translated.body)["model"] == translated.upstream_model
    return True


def replace_somewhere(node: Any, data: st.DataObject) -> None:
    """Replace or remove one value, at any depth."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
            node = node[key]
        elif data.draw(st.integers(0, 3)) == 0:
            del node[key]
            return
        else:
            node[key] = data.draw(values)
            return


def canonical(messages: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What was said, in order, whatever the form: a string is one text part, results come in call order."""
    said: list[tuple[Any, ...]] = []
    calls: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for message in messages:
        if message["role"] == "tool":
            results[message["tool_call_id"]] = message["content"]
            continue
        said += [("result", made["id"], results[made["id"]]) for made in calls]
        content, calls, results = message["content"], message.get("tool_calls", []), {}
        speaker = "system" if message["role"] == "developer" else message["role"]
        spoken = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        said += [(speaker, _plain(part)) for part in spoken]
        said += [("call", made["id"], made["function"]["name"], _parsed(made)) for made in calls]
    return said + [("result", made["id"], results[made["id"]]) for made in calls]


def inverse(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What an Anthropic request says, in the same words."""
    said: list[tuple[Any, ...]] = [("system", ("text", block["text"])) for block in body.get("system", [])]
    for turn in body["messages"]:
        for block in blocks(turn):
            match block["type"]:
                case "tool_use":
                    said.append(("call", block["id"], block["name"], block["input"]))
                case "tool_result":
                    said.append(("result", block["tool_use_id"], block["content"]))
                case "text":
                    said.append((turn["role"], ("text", block["text"])))
                case kind:
                    source = block["source"]
                    where = source.get("url") or (source["media_type"], source["data"])
                    said.append((turn["role"], (kind, where, block.get("title"))))
    return said


def blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def anthropic_id(text: str) -> bool:
    return bool(text) and all(character.isascii() and (character.isalnum() or character in "_-") for character in text)


def _parsed(made: dict[str, Any]) -> Any:
    return json.loads(made["function"]["arguments"])


def _plain(part: dict[str, Any]) -> tuple[Any, ...]:
    if part["type"] == "text":
        return ("text", part["text"])
    if part["type"] == "file":
        data = part["file"]["file_data"].partition(";base64,")[2]
        return ("document", ("application/pdf", data), part["file"]["filename"])
    url = part["image_url"]["url"]
    if url.startswith("data:"):
        media_type, _, data = url.removeprefix("data:").partition(";base64,")
        return ("image", (media_type, data), None)
    return ("image", url, None)
