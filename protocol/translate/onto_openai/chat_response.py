"""A whole ``chat.completion`` as an Anthropic message (Messages API, "The message object").

What the model thought is a thinking block if the client asked the model to think, and is passed over otherwise. Text is
followed by a refusal, both in one text block, and then by the calls. A call that was cut off in the middle is left out,
because half of its input is no input; the stop reason says that the answer was cut.
"""

import msgspec

from protocol.errors import Refusal
from protocol.translate.onto_openai.chat_completions import Call, Function, Said, read_completion
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.translate.onto_openai.ids import call_id, message_id
from protocol.translate.onto_openai.outcomes import JsonObject, stop_of_choice, usage_of
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED
from protocol.translate.onto_openai.tools import input_of
from protocol.translate.outcomes import ChatUsage, anthropic_usage


def message_from_completion(body: bytes, request: CarriedRequest, *, identity: str) -> bytes:
    """The body for the client.

    :param identity: stands in for the completion's id where the server gives none; letters, digits, ``_`` and ``-``.
    :raises Refusal: 502, the upstream's body is no completion; or the error that it holds instead of one.
    """
    completion = read_completion(body)
    if completion.failed:
        raise openai_refusal(500, body)
    choice = completion.choice
    if choice is None or choice.message is None:
        raise Refusal(502, "the upstream sent a completion without an answer")
    said, message = choice.message, message_id(completion.id, identity)
    calls = said.tool_calls or []
    stop = stop_of_choice(choice, called=bool(calls), refusal=said.refusal or "", sequences=request.stop_sequences)
    return msgspec.json.encode(
        {
            "id": message,
            "type": "message",
            "role": "assistant",
            "model": request.requested_model,
            "content": [
                *_spoken(said, request),
                *_calls(calls, request, message, cut=stop.stop_reason == "max_tokens"),
            ],
            "stop_reason": stop.stop_reason,
            "stop_sequence": stop.stop_sequence,
            "stop_details": stop.stop_details,
            "usage": usage_of(anthropic_usage(completion.usage or ChatUsage())),
        }
    )


def _spoken(said: Said, request: CarriedRequest) -> list[JsonObject]:
    thought, text = said.reasoning_content or said.reasoning, (said.content or "") + (said.refusal or "")
    blocks: list[JsonObject] = []
    if thought and request.shows_thinking:
        blocks.append({"type": "thinking", "thinking": thought, "signature": UNSIGNED})
    if text.strip():
        blocks.append({"type": "text", "text": text})
    return blocks


def _calls(calls: list[Call], request: CarriedRequest, message: str, *, cut: bool) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    for position, call in enumerate(calls):
        function = call.function or Function()
        if not function.name:
            raise Refusal(502, "the upstream sent a tool call without a name")
        arguments = input_of(function.arguments)
        if arguments is not None:
            name = request.tools.get(function.name, function.name)
            tool_id = call_id(call.id, message, position)
            blocks.append({"type": "tool_use", "id": tool_id, "name": name, "input": arguments})
        elif not cut:
            raise Refusal(502, f"the model called {function.name} with arguments that are no JSON object")
    return blocks
