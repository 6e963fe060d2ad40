"""``POST /v1/messages`` to ``POST /v1/chat/completions``."""

from collections.abc import Callable

from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.onto_openai.asked import Asked, read_request
from protocol.translate.onto_openai.chat_messages import chat_messages
from protocol.translate.onto_openai.output_format import NAME, schema_of
from protocol.translate.onto_openai.parameters import ONTO_CHAT
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ReturnedThinking
from protocol.translate.onto_openai.thinking import UNSIGNED


def carry_onto_chat(
    body: bytes, *, resolve: Callable[[str], str], server: ChatServer, drop_unsupported: bool = False
) -> CarriedRequest:
    """The Chat Completions request that asks what this Messages request asks.

    :param resolve: the server's name for a requested model; may raise a Refusal with status 404.
    :param drop_unsupported: leave out what cannot be carried, instead of refusing the request.
    :raises Refusal: 400 naming what is malformed or cannot be carried.
    """

    def recall(block: Fields) -> Block | None:
        """What this translation made of a server's reasoning goes back as it came, to a server that wants it."""
        if block.value("signature") != UNSIGNED or server.returned_thinking is ReturnedThinking.NONE:
            return None
        return {"type": "thinking", "thinking": block.text("thinking")}

    try:
        asked = read_request(
            body,
            resolve=resolve,
            server=server,
            system_turns=server.system_turns,
            recall=recall,
            table=ONTO_CHAT,
            drop_unsupported=drop_unsupported,
        )
        return _written(asked, server)
    except RecursionError:
        raise refusal("", "the request is nested too deeply", "invalid_json") from None


def _written(asked: Asked, server: ChatServer) -> CarriedRequest:
    stop = _stop_sequences(asked, server)
    body = {
        "model": asked.upstream_model,
        server.token_limit.value: asked.max_tokens,
        "messages": chat_messages(asked.system, asked.turns, server.returned_thinking),
        "tools": [{"type": "function", "function": function} for function in asked.tools] or None,
        "tool_choice": _choice(asked),
        "parallel_tool_calls": False if asked.choice.sequential else None,
        "reasoning_effort": asked.effort,
        "response_format": _format(asked),
        "stop": list(stop) or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": _top_k(asked, server),
        "user": asked.user,
        "stream": asked.stream or None,
        "stream_options": {"include_usage": True} if asked.stream else None,
    }
    return asked.carried(body, stop)


def _choice(asked: Asked) -> str | Block | None:
    name = asked.choice.name
    return asked.choice.mode if name is None else {"type": "function", "function": {"name": name}}


def _format(asked: Asked) -> Block | None:
    schema = schema_of(asked.output_format, asked.scope)
    return None if schema is None else {"type": "json_schema", "json_schema": {"name": NAME, **schema}}


def _stop_sequences(asked: Asked, server: ChatServer) -> tuple[str, ...]:
    sequences = []
    for path, value in asked.request.items("stop_sequences"):
        if not isinstance(value, str):
            raise refusal(path, "expected a string", "invalid_type")
        sequences.append(value)
    most = server.stop_sequences
    if most is not None and len(sequences) > most:
        asked.scope.cannot_carry("stop_sequences", f"this model's provider takes at most {most}")
    return tuple(sequences[:most])


def _top_k(asked: Asked, server: ChatServer) -> int | None:
    top_k = asked.request.integer("top_k")
    if top_k is not None and not server.top_k:
        asked.scope.cannot_carry("top_k", "not supported by this model's provider", "unsupported_parameter")
        return None
    return top_k
