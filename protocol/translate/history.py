"""The conversation in Anthropic's grammar: alternating turns, each call answered at the start of the next turn.

Clients hand in messages or items in their own order. What comes out keeps that order, except that tool results move
to the front of their turn, in the order of the calls (Messages API, "Handling tool results").
"""

import base64
import re
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.translate.content import THINKING_PARTS
from protocol.translate.fields import Block, refusal
from protocol.translate.scope import Scope

_VALID_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
"""What a ``tool_use`` id may be (Messages API)."""


class _Placed(msgspec.Struct):
    """A block, and where it stood in the client's request."""

    block: Block
    path: str


class _Turn(msgspec.Struct):
    role: str
    blocks: list[_Placed]
    path: str
    plain: bool = False
    """It came as one string, and goes out as one."""


@final
class History:
    """Collects a conversation front to back; ``finish`` closes it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._turns: list[_Turn] = []

    def instruct(self, blocks: list[Block], path: str) -> None:
        """A system or developer message, as text blocks."""
        self._add("system", blocks, path)

    def user(self, blocks: list[Block], path: str, *, plain: bool = False) -> None:
        self._add("user", blocks, path, plain=plain)

    def assistant(self, blocks: list[Block], path: str, *, plain: bool = False) -> None:
        self._add("assistant", blocks, path, plain=plain)

    def call(self, call_id: str, name: str, arguments: object, path: str) -> None:
        """A tool call of the assistant's: ``name`` as sent upstream, ``arguments`` a JSON object."""
        self._add("assistant", [{"type": "tool_use", "id": call_id, "name": name, "input": arguments}], path)

    def result(self, call_id: str, content: object, path: str, cache_control: object = None) -> None:
        """A tool's answer to the call with this id: a string or a list of blocks."""
        block: Block = {"type": "tool_result", "tool_use_id": call_id}
        if content:
            block["content"] = content
        if cache_control is not None:
            block["cache_control"] = cache_control
        self._add("user", [block], path)

    def called_names(self) -> list[str]:
        """The upstream names of every tool called so far, each once, in order."""
        blocks = (placed.block for turn in self._turns for placed in turn.blocks)
        return list(dict.fromkeys(str(block["name"]) for block in blocks if block["type"] == "tool_use"))

    def finish(self, path: str) -> tuple[list[Block], list[Block]]:
        """``system`` and ``messages``; ``path`` names the client's list, for a complaint about all of it.

        :raises Refusal: 400 when nothing was said, the last message is blank, or calls and results do not pair up.
        """
        if self._turns and self._turns[-1].role == "user" and not self._turns[-1].blocks:
            raise refusal(self._turns[-1].path, "the last message must not be blank")
        turns = [turn for turn in self._turns if turn.blocks]
        opening = next((index for index, turn in enumerate(turns) if turn.role != "system"), len(turns))
        system, turns = [placed for turn in turns[:opening] for placed in turn.blocks], turns[opening:]
        if not turns:
            if not system:
                raise refusal(path, "there is no message with content")
            # Instructions alone: the last of them is what is to be answered.
            turns = [_Turn("user", [system.pop()], path)]
        turns = _merged(self._placed_instructions(turns))
        _pair(turns)
        return [placed.block for placed in system], [_message(turn) for turn in turns]

    def _add(self, role: str, blocks: list[Block], path: str, *, plain: bool = False) -> None:
        self._turns.append(_Turn(role, [_Placed(block, path) for block in blocks], path, plain))

    def _placed_instructions(self, turns: list[_Turn]) -> list[_Turn]:
        """Instructions in the middle: a turn of their own where the API takes one, else marked text of the user's.

        Anthropic takes a system turn after a user turn, if an assistant turn or nothing follows, on newer models
        only ("Mid-conversation system messages"). Everywhere else the words stay in place, between ``<system>`` tags.
        """
        merged = _merged(turns)
        for index, turn in enumerate(merged):
            if turn.role != "system":
                continue
            follows_user = merged[index - 1].role == "user"
            last_word = index + 1 == len(merged) or merged[index + 1].role == "assistant"
            if self._scope.capabilities.system_turns and follows_user and last_word:
                continue
            turn.role = "user"
            for placed in turn.blocks:
                placed.block = {**placed.block, "text": f"<system>\n{placed.block['text']}\n</system>"}
        return merged


def continues_unsigned_tool_turn(messages: list[Block]) -> bool:
    """Whether the model is to go on after tool results without the thinking that led to the calls.

    Models with a thinking budget refuse to think then ("Preserving thinking blocks").
    """
    if len(messages) < 2:
        return False
    answer, call = messages[-1]["content"], messages[-2]["content"]
    if not isinstance(answer, list) or not isinstance(call, list):
        return False
    return answer[0]["type"] == "tool_result" and call[0]["type"] not in THINKING_PARTS


def _merged(turns: list[_Turn]) -> list[_Turn]:
    """Neighbours with the same role become one turn."""
    merged: list[_Turn] = []
    for turn in turns:
        if merged and merged[-1].role == turn.role:
            merged[-1].blocks.extend(turn.blocks)
            merged[-1].plain = False
        else:
            merged.append(turn)
    return merged


def _pair(turns: list[_Turn]) -> None:
    """Put each turn's results in front, in call order, under ids that are valid and used once."""
    taken: set[str] = set()
    calls: dict[str, _Placed] = {}
    for turn in turns:
        results = _results(turn)
        for call_id, placed in results.items():
            if call_id not in calls:
                raise refusal(placed.path, f"no tool call with the id {call_id!r} awaits a result here")
        for call_id, placed in calls.items():
            if call_id not in results:
                raise _unanswered(call_id, placed)
            results[call_id].block["tool_use_id"] = placed.block["id"]
        others = [placed for placed in turn.blocks if placed.block["type"] != "tool_result"]
        turn.blocks = [results[call_id] for call_id in calls] + others
        calls = _renamed_calls(turn, taken)
    for call_id, placed in calls.items():
        raise _unanswered(call_id, placed)


def _results(turn: _Turn) -> dict[str, _Placed]:
    results: dict[str, _Placed] = {}
    for placed in turn.blocks:
        if placed.block["type"] == "tool_result":
            call_id = str(placed.block["tool_use_id"])
            if call_id in results:
                raise refusal(placed.path, f"the tool call {call_id!r} has two results")
            results[call_id] = placed
    return results


def _renamed_calls(turn: _Turn, taken: set[str]) -> dict[str, _Placed]:
    """The turn's calls by the client's id; the blocks get the id that goes upstream."""
    calls: dict[str, _Placed] = {}
    for placed in turn.blocks:
        if placed.block["type"] == "tool_use":
            call_id = str(placed.block["id"])
            if call_id in calls:
                raise refusal(placed.path, f"two tool calls have the id {call_id!r}")
            calls[call_id] = placed
            placed.block["id"] = _unique(_valid_id(call_id), taken)
    return calls


def _valid_id(call_id: str) -> str:
    """The id itself where the API takes it, else a valid spelling of it."""
    if _VALID_ID.fullmatch(call_id):
        return call_id
    return "id_" + base64.urlsafe_b64encode(call_id.encode()).rstrip(b"=").decode("ascii")


def _unique(call_id: str, taken: set[str]) -> str:
    """Some clients count their calls anew in every turn; upstream an id may be used once only."""
    candidate, number = call_id, 2
    while candidate in taken:
        candidate, number = f"{call_id}_{number}", number + 1
    taken.add(candidate)
    return candidate


def _unanswered(call_id: str, placed: _Placed) -> Refusal:
    return refusal(placed.path, f"the tool call {call_id!r} has no result in the messages that follow it")


def _message(turn: _Turn) -> Block:
    if turn.plain:
        return {"role": turn.role, "content": turn.blocks[0].block["text"]}
    return {"role": turn.role, "content": [placed.block for placed in turn.blocks]}
