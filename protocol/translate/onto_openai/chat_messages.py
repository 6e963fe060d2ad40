"""Turns as the messages of Chat Completions.

An assistant's turn is one message. A user's is one tool message for each result, in the order of the calls, and then
one with everything else; a tool message holds text only, so what else belongs to a result follows there, too.
"""

from collections.abc import Sequence
from typing import Final

from protocol.translate.content import text_block
from protocol.translate.fields import Block
from protocol.translate.onto_openai.content import BLANK_LINE, Parts, answer_text, as_content, joined_text, result_text
from protocol.translate.onto_openai.conversation import Turn
from protocol.translate.onto_openai.ids import server_id
from protocol.translate.onto_openai.servers import ReturnedThinking
from protocol.translate.onto_openai.tools import arguments_of, short_name

ATTACHED: Final = "(See the attachment in the next message.)"
"""Ends the text of a result whose images and files follow in a user message."""


def chat_messages(system: Parts, turns: Sequence[Turn], returned: ReturnedThinking) -> list[Block]:
    """The ``messages`` of the chat request."""
    messages: list[Block] = [{"role": "system", "content": joined_text(system)}] if system else []
    names: dict[object, object] = {}
    for turn in turns:
        if turn.role == "assistant":
            names = {block["id"]: block["name"] for block in turn.blocks if block["type"] == "tool_use"}
            messages.append(_assistant_message(turn.blocks, returned))
        elif turn.role == "system":
            messages.append({"role": "system", "content": joined_text(turn.blocks)})
        else:
            messages += _user_messages(turn.blocks, names)
    return messages


def _assistant_message(blocks: Parts, returned: ReturnedThinking) -> Block:
    """Text, calls and, where the server wants it, the thinking behind them.

    Servers that want it refuse a message with calls that lacks the field, even if there was no thinking.
    """
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    thoughts = [str(block["thinking"]) for block in blocks if block["type"] == "thinking"]
    text = answer_text(blocks)
    message: Block = {"role": "assistant", "content": text or (None if calls else "")}
    if returned is not ReturnedThinking.NONE and (thoughts or calls):
        message[returned.value] = BLANK_LINE.join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: Block) -> Block:
    function = {"name": short_name(str(block["name"])), "arguments": arguments_of(block)}
    return {"id": server_id(str(block["id"])), "type": "function", "function": function}


def _user_messages(blocks: Parts, names: dict[object, object]) -> list[Block]:
    messages: list[Block] = []
    said: Parts = []
    for block in blocks:
        if block["type"] != "tool_result":
            said.append(block)
            continue
        call_id, parts = server_id(str(block["tool_use_id"])), block["parts"]
        assert isinstance(parts, list)
        attached = [part for part in parts if part["type"] != "text"]
        text = [result_text(block, parts), *([ATTACHED] if attached else [])]
        messages.append({"role": "tool", "tool_call_id": call_id, "content": BLANK_LINE.join(filter(None, text))})
        if attached:
            said += [text_block(f"Attached to the result of {names[block['tool_use_id']]} ({call_id}):"), *attached]
    if said:
        messages.append({"role": "user", "content": as_content(said)})
    return messages
