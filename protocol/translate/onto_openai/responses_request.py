"""``POST /v1/messages`` to ``POST /v1/responses``."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from protocol.translate.fields import Block, Fields, refusal
from protocol.translate.onto_openai.asked import Asked, read_request
from protocol.translate.onto_openai.content import Parts, answer_text, as_content, joined_text, result_text
from protocol.translate.onto_openai.conversation import Turn
from protocol.translate.onto_openai.ids import server_id
from protocol.translate.onto_openai.output_format import NAME, schema_of
from protocol.translate.onto_openai.parameters import ONTO_RESPONSES
from protocol.translate.onto_openai.servers import CarriedRequest, ResponsesServer
from protocol.translate.onto_openai.thinking import encrypted_reasoning
from protocol.translate.onto_openai.tools import arguments_of, short_name

FEWEST_TOKENS: Final = 16
"""OpenAI's lower bound of ``max_output_tokens``."""


def carry_onto_responses(
    body: bytes, *, resolve: Callable[[str], str], server: ResponsesServer, drop_unsupported: bool = False
) -> CarriedRequest:
    """The Responses request that asks what this Messages request asks.

    :param resolve: the server's name for a requested model; may raise a Refusal with status 404.
    :param drop_unsupported: leave out what cannot be carried, instead of refusing the request.
    :raises Refusal: 400 naming what is malformed or cannot be carried.
    """

    def recall(block: Fields) -> Block | None:
        """Reasoning that the server encrypted goes back to it; plain thoughts are of no use to it."""
        item = encrypted_reasoning(block.value("signature")) if server.encrypted_reasoning else None
        if item is None:
            return None
        text = block.optional_text("thinking")
        summary = [{"type": "summary_text", "text": text}] if text else []
        return {"type": "reasoning", "id": item.id, "summary": summary, "encrypted_content": item.encrypted_content}

    try:
        asked = read_request(
            body,
            resolve=resolve,
            server=server,
            system_turns=True,
            recall=recall,
            table=ONTO_RESPONSES,
            drop_unsupported=drop_unsupported,
        )
        return _written(asked, server)
    except RecursionError:
        raise refusal("", "the request is nested too deeply", "invalid_json") from None


def _written(asked: Asked, server: ResponsesServer) -> CarriedRequest:
    body = {
        "model": asked.upstream_model,
        "instructions": joined_text(asked.system) or None,
        "input": [item for turn in asked.turns for item in _items(turn)],
        "max_output_tokens": max(FEWEST_TOKENS, asked.max_tokens),
        "tools": [_tool(function) for function in asked.tools] or None,
        "tool_choice": _choice(asked),
        "parallel_tool_calls": False if asked.choice.sequential else None,
        "reasoning": _reasoning(asked, server),
        "include": ["reasoning.encrypted_content"] if server.encrypted_reasoning else None,
        "text": _text(asked),
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "user": asked.user,
        "store": False,
        "stream": asked.stream or None,
    }
    return asked.carried(body)


def _items(turn: Turn) -> list[Block]:
    """The items of a turn: an assistant's in the order of its blocks, a user's results before what else it says."""
    if turn.role == "system":
        return [{"role": "developer", "content": joined_text(turn.blocks)}]
    if turn.role == "assistant":
        spoken = groupby(turn.blocks, key=lambda block: block["type"] == "text")
        return [item for is_text, blocks in spoken for item in _answered(list(blocks), is_text=is_text)]
    results = [_result(block) for block in turn.blocks if block["type"] == "tool_result"]
    said = [block for block in turn.blocks if block["type"] != "tool_result"]
    return [*results, {"role": "user", "content": _input(said)}] if said else results


def _answered(blocks: Parts, *, is_text: bool) -> Sequence[Block]:
    if is_text:
        return [{"role": "assistant", "content": answer_text(blocks)}]
    return [_call(block) if block["type"] == "tool_use" else block for block in blocks]


def _call(block: Block) -> Block:
    name, call_id = short_name(str(block["name"])), server_id(str(block["id"]))
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments_of(block)}


def _result(block: Block) -> Block:
    """A result with all it holds; the text of one with pictures or files comes first."""
    parts = block["parts"]
    assert isinstance(parts, list)
    text, attached = result_text(block, parts), [part for part in parts if part["type"] != "text"]
    said: Parts = [{"type": "text", "text": text}] if text and attached else []
    output = _input([*said, *attached]) if attached else text
    return {"type": "function_call_output", "call_id": server_id(str(block["tool_use_id"])), "output": output}


def _input(parts: Parts) -> str | Parts:
    """Parts in the words of the Responses API; text alone is one string."""
    content = as_content(parts)
    return content if isinstance(content, str) else [_PARTS[str(part["type"])](part) for part in content]


def _image(part: Block) -> Block:
    image = part["image_url"]
    assert isinstance(image, dict)
    return {"type": "input_image", "image_url": image["url"], "detail": "auto"}


def _file(part: Block) -> Block:
    file = part["file"]
    assert isinstance(file, dict)
    return {"type": "input_file", **file}


_PARTS: Final[dict[str, Callable[[Block], Block]]] = {
    "text": lambda part: {"type": "input_text", "text": part["text"]},
    "image_url": _image,
    "file": _file,
}


def _tool(function: Block) -> Block:
    """A function; unlike in Chat Completions, not to say whether it is strict means that it is."""
    return {"type": "function", "strict": False, **function}


def _choice(asked: Asked) -> str | Block | None:
    name = asked.choice.name
    return asked.choice.mode if name is None else {"type": "function", "name": name}


def _reasoning(asked: Asked, server: ResponsesServer) -> Block | None:
    reasoning: Block = {}
    if asked.effort is not None:
        reasoning["effort"] = asked.effort
    if asked.shows_thinking and server.summaries:
        reasoning["summary"] = "auto"
    return reasoning or None


def _text(asked: Asked) -> Block | None:
    schema = schema_of(asked.output_format, asked.scope)
    return None if schema is None else {"format": {"type": "json_schema", "name": NAME, **schema}}
