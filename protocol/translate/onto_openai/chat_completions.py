"""Whole completions and stream chunks of Chat Completions, typed as far as a translation reads them.

What is not named here is passed over. What is named may be missing or null anywhere, because some server leaves it out;
if it has another type than the API's, the upstream is broken: ``Refusal`` with status 502.
"""

from typing import Final

import msgspec

from protocol.errors import Refusal
from protocol.translate.outcomes import ChatUsage


class Function(msgspec.Struct, frozen=True, gc=False):
    """What is called: in a chunk, as much of it as is new."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, frozen=True, gc=False):
    """A tool call, whole or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """A message, or in a chunk what is added to it. Servers call what the model thought by one of two names."""

    content: str | None = None
    tool_calls: list[Call] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, frozen=True, gc=False):
    """One of the answers; only that with index 0 was asked for.

    The sequence that ended the answer is ``stop_reason`` at vLLM, ``matched_stop`` at SGLang, ``stop_sequence`` here;
    the first two may be the number of a token instead.
    """

    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    native_finish_reason: object = None
    stop_reason: object = None
    matched_stop: object = None
    stop_sequence: object = None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole completion, a chunk, or instead of either an error."""

    choices: list[Choice] | None = None
    id: str | None = None
    usage: ChatUsage | None = None
    error: object = None
    object: str | None = None

    @property
    def failed(self) -> bool:
        """Whether this is an error: ``{"error": ...}``, or ``{"object": "error", ...}`` at some servers."""
        return self.error is not None or self.object == "error"

    @property
    def choice(self) -> Choice | None:
        """The answer that was asked for."""
        for choice in self.choices or ():
            if not choice.index:
                return choice
        return None


_decode: Final = msgspec.json.Decoder(Completion).decode


def read_completion(body: bytes) -> Completion:
    """The completion in a response body, or the chunk in the data of a server-sent event.

    :raises Refusal: 502, it is neither, and no error either.
    """
    try:
        return _decode(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(502, "the upstream sent something that is not of the Chat Completions API") from error
