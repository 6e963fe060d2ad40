"""A whole response of the Responses API as an Anthropic message (Messages API, "The message object").

Items become blocks in their order: a reasoning item a thinking block, if the client asked the model to think; a message
its text, refusals included; a function call a ``tool_use`` block. A call that was cut off in the middle is left out.
Items of other types, such as searches that the server ran, have no counterpart; the request asked for none.
"""

from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.onto_openai.errors import stream_refusal
from protocol.translate.onto_openai.ids import call_id, message_id
from protocol.translate.onto_openai.outcomes import JsonObject, stop_of_response, usage_of
from protocol.translate.onto_openai.responses_answers import Item, Response, read_item, read_response
from protocol.translate.onto_openai.servers import CarriedRequest
from protocol.translate.onto_openai.thinking import UNSIGNED, EncryptedReasoning
from protocol.translate.onto_openai.tools import input_of

ENDED: Final = frozenset({"completed", "incomplete"})


def message_from_response(body: bytes, request: CarriedRequest, *, identity: str) -> bytes:
    """The body for the client.

    :param identity: stands in for the response's id where the server gives none; letters, digits, ``_`` and ``-``.
    :raises Refusal: 502, the upstream's body is no response that has ended; or the error that it holds.
    """
    response = read_response(body)
    check_ended(response)
    answer = _Answer(request, message_id(response.id, identity), cut=response.status != "completed")
    for raw in response.output or ():
        item = read_item(raw)
        if item is not None:
            answer.add(item)
    stop = stop_of_response(response, called=answer.calls > 0, refusal="".join(answer.refused))
    return msgspec.json.encode(
        {
            "id": answer.message_id,
            "type": "message",
            "role": "assistant",
            "model": request.requested_model,
            "content": answer.blocks,
            "stop_reason": stop.stop_reason,
            "stop_sequence": stop.stop_sequence,
            "stop_details": stop.stop_details,
            "usage": usage_of(None if response.usage is None else response.usage.usage),
        }
    )


def check_ended(response: Response) -> None:
    """See to it that the response is one that ended well, or was cut short.

    :raises Refusal: it failed, or has not ended.
    """
    if bytes(response.error) != b"null":
        raise stream_refusal(b'{"error":%b}' % bytes(response.error))
    if response.status not in ENDED:
        raise Refusal(502, f"the upstream sent a response that is {response.status or 'of no status'}")


class _Answer:
    """What the items of one response add up to."""

    def __init__(self, request: CarriedRequest, message: str, *, cut: bool) -> None:
        self.message_id = message
        self.blocks: list[JsonObject] = []
        self.calls = 0
        self.refused: list[str] = []
        self._request = request
        self._cut = cut

    def add(self, item: Item) -> None:
        if item.type == "reasoning":
            self._add_thinking(item)
        elif item.type == "function_call":
            self._add_call(item)
        else:
            self.refused += item.refusals
            if item.text.strip():
                self.blocks.append({"type": "text", "text": item.text})

    def _add_thinking(self, item: Item) -> None:
        signature = signature_of(item)
        if self._request.shows_thinking and (item.thought or signature != UNSIGNED):
            self.blocks.append({"type": "thinking", "thinking": item.thought, "signature": signature})

    def _add_call(self, item: Item) -> None:
        if not item.name:
            raise Refusal(502, "the upstream sent a tool call without a name")
        position, self.calls = self.calls, self.calls + 1
        arguments = input_of(item.arguments)
        if arguments is not None:
            name = self._request.tools.get(item.name, item.name)
            tool_id = call_id(item.call_id, self.message_id, position)
            self.blocks.append({"type": "tool_use", "id": tool_id, "name": name, "input": arguments})
        elif not self._cut:
            raise Refusal(502, f"the model called {item.name} with arguments that are no JSON object")


def signature_of(item: Item) -> str:
    """What stands for a signature under the thoughts of a reasoning item."""
    if item.id and item.encrypted_content:
        return EncryptedReasoning(item.id, item.encrypted_content).signature
    return UNSIGNED
