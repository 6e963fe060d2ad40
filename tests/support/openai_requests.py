"""OpenAI requests in short, and what they become."""

import json
from collections.abc import Iterable
from typing import Any, Final

import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from protocol.config import DEFAULT_MODEL_MAP
from protocol.errors import Refusal
from protocol.kinds import read_model_names
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.models import ModelTable
from protocol.translate.responses_request import translate_responses_request


def model_table(text: str = DEFAULT_MODEL_MAP, fallback: str | None = None) -> ModelTable:
    """The table that a setting's text stands for."""
    return ModelTable(dict(read_model_names(text)), fallback)


MODELS = model_table()
STRICT = TranslationOptions()
DROPPING = TranslationOptions(drop_unsupported=True)

SONNET = "claude-sonnet-4-6"
HAIKU = "claude-haiku-4-5"
OPUS = "claude-opus-4-8"
OLD_SONNET = "claude-3-7-sonnet-20250219"

MESSAGES_REQUEST: Final[TypeAdapter[Any]] = TypeAdapter(MessageCreateParams)
SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})

USER = {"role": "user", "content": "Hi"}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER_TOOL = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": WEATHER}}


def chat(*messages: Any, options: TranslationOptions = STRICT, **parameters: Any) -> TranslatedRequest:
    """A Chat Completions request; by default to Claude Sonnet, and saying hello."""
    request = {"model": SONNET, "messages": list(messages) or [USER]} | parameters
    return translate_chat_request(json.dumps(request).encode(), models=MODELS, options=options)


def chat_body(*messages: Any, **parameters: Any) -> dict[str, Any]:
    return body_of(chat(*messages, **parameters))


def responses(*items: Any, options: TranslationOptions = STRICT, **parameters: Any) -> TranslatedRequest:
    """A Responses request; by default to Claude Sonnet, and saying hello."""
    request = {"model": SONNET, "input": list(items) or "Hi"} | parameters
    return translate_responses_request(json.dumps(request).encode(), models=MODELS, options=options)


def responses_body(*items: Any, **parameters: Any) -> dict[str, Any]:
    return body_of(responses(*items, **parameters))


def body_of(translated: TranslatedRequest) -> dict[str, Any]:
    """The upstream body, which is what the types of Anthropic's SDK describe.

    ``temperature`` and its like are gone from those types; models that take them still do.
    """
    body: dict[str, Any] = json.loads(translated.body)
    described = MESSAGES_REQUEST.validate_python({name: value for name, value in body.items() if name not in SAMPLING})
    assert _whole(described) == {name: value for name, value in body.items() if name not in SAMPLING}
    return body


def _whole(described: Any) -> Any:
    """The same with every lazily validated list in it read to its end."""
    if isinstance(described, dict):
        return {name: _whole(value) for name, value in described.items()}
    if isinstance(described, Iterable) and not isinstance(described, str):
        return [_whole(value) for value in described]
    return described


def refused(ask: Any, *arguments: Any, **parameters: Any) -> Refusal:
    """The refusal that this request meets."""
    with pytest.raises(Refusal) as caught:
        ask(*arguments, **parameters)
    return caught.value


def call(call_id: str, name: str = "weather", arguments: str = "{}") -> dict[str, Any]:
    """One entry of an assistant message's ``tool_calls``."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | fields


def result(call_id: str, content: Any = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}
