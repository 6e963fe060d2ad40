"""Messages requests in short, and the chat requests that they become."""

import json
from typing import Any, Final

from openai.types.chat import CompletionCreateParams
from openai.types.responses import ResponseCreateParams
from pydantic import TypeAdapter

from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ResponsesServer
from tests.support.openai_requests import _whole

Json = dict[str, Any]

RESPONSES_REQUEST: Final[TypeAdapter[Any]] = TypeAdapter(ResponseCreateParams)
CHAT_REQUEST: Final[TypeAdapter[Any]] = TypeAdapter(CompletionCreateParams)
EXTENSIONS: Final = frozenset({"top_k", "reasoning_content", "reasoning"})
"""What chat requests hold beyond the types of OpenAI's SDK."""

ANY: Final = ChatServer()
ANY_RESPONSES: Final = ResponsesServer()
MODEL: Final = "claude-opus-5-5"
SERVED: Final = "served-model"
HI: Final = {"role": "user", "content": "Hi"}
WEATHER: Final = {"name": "weather", "description": "Now.", "input_schema": {"type": "object", "properties": {}}}


def ask(*messages: Any, server: ChatServer = ANY, drop: bool = False, **parameters: Any) -> CarriedRequest:
    """A Messages request; by default just saying hello."""
    request = {"model": MODEL, "max_tokens": 1000, "messages": list(messages) or [HI]} | parameters
    return carry_onto_chat(
        json.dumps(request).encode(), resolve=lambda model: SERVED, server=server, drop_unsupported=drop
    )


def chat_request(*messages: Any, **options: Any) -> Json:
    """What the server is asked."""
    return described(ask(*messages, **options))


def chat_messages(*messages: Any, **options: Any) -> list[Json]:
    asked: list[Json] = chat_request(*messages, **options)["messages"]
    return asked


def described(call: CarriedRequest) -> Json:
    """The upstream body, which is what the types of OpenAI's SDK describe."""
    body: Json = json.loads(call.body)
    known = _without_extensions(body)
    api = CHAT_REQUEST if "messages" in body else RESPONSES_REQUEST
    assert _whole(api.validate_python(known)) == known
    return body


def ask_responses(
    *messages: Any, server: ResponsesServer = ANY_RESPONSES, drop: bool = False, **parameters: Any
) -> CarriedRequest:
    """The same, of a server of the Responses API."""
    request = {"model": MODEL, "max_tokens": 1000, "messages": list(messages) or [HI]} | parameters
    return carry_onto_responses(
        json.dumps(request).encode(), resolve=lambda model: SERVED, server=server, drop_unsupported=drop
    )


def responses_request(*messages: Any, **options: Any) -> Json:
    """What the server is asked."""
    return described(ask_responses(*messages, **options))


def use(call_id: str, name: str = "weather", **fields: Any) -> Json:
    """A ``tool_use`` block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}} | fields


def assistant(*blocks: Any) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def user(*blocks: Any) -> Json:
    return {"role": "user", "content": list(blocks)}


def text(words: str, **fields: Any) -> Json:
    return {"type": "text", "text": words} | fields


def result(call_id: str, content: Any = "sunny", **fields: Any) -> Json:
    """A ``tool_result`` block."""
    return {"type": "tool_result", "tool_use_id": call_id, "content": content} | fields


def image(data: str = "AAAA") -> Json:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def _without_extensions(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_extensions(inner) for name, inner in value.items() if name not in EXTENSIONS}
    return [_without_extensions(inner) for inner in value] if isinstance(value, list) else value
