"""What a request may ask of the practice upstream, in its ``x-practice`` header or in lines of the user's text.

The two spellings say the same, and may be mixed::

    x-practice: error=429; retry-after=7        /error 429 retry-after=7
    x-practice: size=100; slow=20               /size 100
                                                /slow 20

A line counts when it starts with ``/`` and a name from this table; other lines are the user's words. A bare name takes
the value in brackets. A *write* is one event of a stream, ``split`` bytes where that is given, else a whole body.

=============  ========================================================================================================
name           what happens
=============  ========================================================================================================
error          [529] answer with this HTTP status, in Anthropic's error shape
retry-after    seconds in the ``retry-after`` header of that error
kind           the error's type, by default the one that goes with the status
message        the error's text: the rest of the line, or up to the next ``;``
code           the error's ``details.error_code``
window         [5h] the usage window, ``5h`` or ``7d``, that the error's rate-limit headers name as spent
reset          [3600] seconds until that window opens again
error-event    [overloaded_error] a stream ends with an ``error`` event of this type
after          [4] events of the stream before that error
tools          [all] call these of the request's tools, in parallel: names with commas between, or ``all``
think          [plain] begin with a thinking block; ``redacted`` adds a redacted one
stop           [end_turn] the stop reason
size           [100] answer with a filler text of this many deltas, whatever ``max_tokens`` says
wait           [1000] milliseconds before the head of the answer
slow           [20] milliseconds between writes
split          [16] bytes in each write, across event boundaries
cut            [5] drop the connection after this many writes; a body that is no stream counts in bytes
stall          [1] go silent after this many writes and hold the connection open; counts as ``cut`` does
reset-cut      with ``cut`` or ``drop``: a TCP reset, so that bytes on the way may be lost
drop           [always] close the connection without an answer; ``reused`` spares the first request on a connection
early          header only: answer before the request's body is read, then close
close          answer with ``connection: close``
hangup         close the connection after the answer without having said so
gzip           compress a body that is no stream, where the client accepts gzip
=============  ========================================================================================================
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from protocol.errors import Refusal

StopReason: TypeAlias = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Milliseconds: TypeAlias = Annotated[int, Meta(ge=0, le=3_600_000)]


class Directives(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One request's wishes, parsed; by default there are none. The module's table says what each means."""

    error: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Count | None = None
    kind: str | None = None
    message: str | None = None
    code: str | None = None
    window: Literal["5h", "7d"] | None = None
    reset: Count = 3600
    error_event: str | None = None
    after: Count = 4
    tools: str | None = None
    think: Literal["plain", "redacted"] | None = None
    stop: StopReason | None = None
    size: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    wait: Milliseconds = 0
    slow: Milliseconds = 0
    split: Annotated[int, Meta(ge=1)] | None = None
    cut: Count | None = None
    stall: Count | None = None
    reset_cut: bool = False
    drop: Literal["always", "reused"] | None = None
    early: bool = False
    close: bool = False
    hangup: bool = False
    gzip: bool = False


Wishes: TypeAlias = dict[str, str]
"""Directive names and values as written, not yet checked."""

NAMES: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Directives))

BARE: Final[Wishes] = {
    "error": "529",
    "window": "5h",
    "reset": "3600",
    "error-event": "overloaded_error",
    "after": "4",
    "tools": "all",
    "think": "plain",
    "stop": "end_turn",
    "size": "100",
    "wait": "1000",
    "slow": "20",
    "split": "16",
    "cut": "5",
    "stall": "1",
    "reset-cut": "true",
    "drop": "always",
    "early": "true",
    "close": "true",
    "hangup": "true",
    "gzip": "true",
}
"""The value of a directive that is written without one."""

_LINE: Final = re.compile(r"[ \t]*/([a-z-]+)(?:[ \t]+(.*?))?[ \t\r]*")
_ATTRIBUTE: Final = re.compile(r"([a-z-]+)=(.*)")


def in_header(value: str) -> Wishes:
    """Read ``name=value; name; ...``; unknown names are kept, for ``directives`` to refuse."""
    wishes: Wishes = {}
    for part in filter(None, (part.strip() for part in value.split(";"))):
        name, equals, text = part.partition("=")
        wishes[name.strip().lower()] = text.strip() if equals else BARE.get(name.strip().lower(), "")
    return wishes


def in_text(text: str) -> tuple[Wishes, str]:
    """Read the directive lines of a text; the second part is the text without them."""
    wishes: Wishes = {}
    words: list[str] = []
    for line in text.split("\n"):
        found = _LINE.fullmatch(line)
        if found is None or found[1] not in NAMES:
            words.append(line)
        else:
            wishes.update(_settings(found[1], found[2] or ""))
    return wishes, "\n".join(words)


def directives(wishes: Wishes) -> Directives:
    """Check what was wished for.

    :raises Refusal: 400, naming the directive that is unknown or has a value it cannot have.
    """
    try:
        return msgspec.convert(wishes, Directives, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"x-practice: {error}") from None


def _settings(name: str, rest: str) -> Iterator[tuple[str, str]]:
    """The value of ``/name value attribute=value ...`` and its attributes."""
    value: list[str] = []
    words = rest.split()
    for position, word in enumerate(words):
        attribute = _ATTRIBUTE.fullmatch(word)
        if attribute is None or attribute[1] not in NAMES:
            value.append(word)
        elif attribute[1] == "message":
            yield "message", " ".join([attribute[2], *words[position + 1 :]])
            break
        else:
            yield attribute[1], attribute[2]
    yield name, " ".join(value) or BARE.get(name, "")
