"""Links Notation, as much of it as the token store has: one link on a line; lines with ``#`` in front are comments.

A link is ``(part part ...)``, a part is a link or a word. A word with more in it than letters, digits and dashes is
quoted with ``"``. Behind a backslash n, r and t stand there for line end, return and tab, all else for itself.
"""

import re
from typing import Final, TypeAlias

import msgspec

from protocol.files import CorruptFile

MAX_LINE_LENGTH: Final = 1 << 20
"""Characters. A token's line has about two hundred."""

MAX_DEPTH: Final = 16
"""Links within links; a token's line has two."""


class Word(msgspec.Struct, frozen=True):
    """A text, and whether it is written with quotation marks."""

    text: str
    quoted: bool = False


class Link(msgspec.Struct, frozen=True):
    """Words and links in their order."""

    parts: "tuple[Part, ...]"


Part: TypeAlias = Word | Link


class Line(msgspec.Struct, frozen=True):
    """A line that is neither blank nor a comment; ``number`` counts from 1."""

    number: int
    text: str


class Document(msgspec.Struct, frozen=True):
    """A file taken apart: its comment lines, and the others."""

    comments: tuple[str, ...]
    lines: tuple[Line, ...]


def word(text: str) -> Word:
    """``text`` as a word that can be read back, bare where that is possible."""
    return Word(text, quoted=_SAFE.fullmatch(text) is None)


def read_document(path: str, content: bytes) -> Document:
    """Tell comments from links. ``path`` is for the error only.

    :raises CorruptFile: it is not UTF-8, or a line is too long.
    """
    content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise CorruptFile(path, f"line {number}", "it is not UTF-8") from None
    comments, lines = [], []
    # No other line ends than this one: the rest may stand between quotation marks.
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(BLANKS)
        if len(line) > MAX_LINE_LENGTH:
            raise CorruptFile(path, f"line {number}", f"it is longer than {MAX_LINE_LENGTH} characters")
        if line.startswith("#"):
            comments.append(line)
        elif line:
            lines.append(Line(number, line))
    return Document(tuple(comments), tuple(lines))


def read_link(text: str) -> Link:
    """The one link that a line holds.

    :raises ValueError: it does not hold one; the message says why, and nothing of the content.
    """
    outer: list[list[Part]] = []
    parts: list[Part] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ValueError("a quotation mark is not closed, or a character is not allowed here")
        position = match.end()
        opening, closing, quoted, bare = match.groups()
        if not outer and (opening is None or parts):
            raise ValueError("there has to be one link, in brackets")
        if opening is not None:
            if len(outer) == MAX_DEPTH:
                raise ValueError(f"there are more than {MAX_DEPTH} links within each other")
            outer.append(parts)
            parts = []
        elif closing is not None:
            closed = Link(tuple(parts))
            parts = outer.pop()
            parts.append(closed)
        else:
            parts.append(Word(bare) if quoted is None else Word(_unescaped(quoted), quoted=True))
    if outer or not parts:
        raise ValueError("a bracket is not closed")
    (link,) = parts
    assert isinstance(link, Link)  # the first part has to be one
    return link


def write_part(part: Part) -> str:
    """A link or a word as it stands in a line."""
    if isinstance(part, Link):
        return f"({' '.join(write_part(inner) for inner in part.parts)})"
    return f'"{part.text.translate(_ESCAPES)}"' if part.quoted else part.text


# --- characters -------------------------------------------------------------------------------------------------------

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors put it at the beginning."""

BLANKS: Final = " \t\r"

_PART: Final = re.compile(
    r"""[ \t\r]*+ (?: (\() | (\)) | "( (?: [^"\\]++ | \\. )*+ )" | ([^\s()"]++) ) [ \t\r]*+""", re.VERBOSE | re.DOTALL
)
_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = str.maketrans({'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_MEANINGS: Final = {"n": "\n", "r": "\r", "t": "\t"}


def _unescaped(quoted: str) -> str:
    if "\\" not in quoted:
        return quoted
    return _ESCAPED.sub(lambda match: _MEANINGS.get(match[1], match[1]), quoted)
