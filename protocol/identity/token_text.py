"""``tokens.lino``: one token a line, for people and for the original router, which writes the same.

``(token ID (label "...") (issued_at N) (expires_at N) (revoked true|false) (account "..."))``, sorted by id. Fields
beyond these are written only where they are set, because the original does not start on a field that it does not know.
Ours reads any, and writes those it does not know as they were.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from protocol.files import CorruptFile
from protocol.identity.token_record import KNOWN_FIELDS, MOST_CACHED, TokenRecord, Unknown, normal
from protocol.lino import Line, Link, Part, Word, read_document, read_link, word, write_part

HEADER: Final = (
    "# The tokens of Link.Assistant.Router, without the tokens themselves. Other programs lock tokens.lock to write.",
    '# (token ID (label "...") (issued_at SECONDS) (expires_at SECONDS) (revoked true|false) ...), times since 1970',
)
KIND: Final = "token"


def read_text(path: str, content: bytes) -> list[TokenRecord]:
    """The records in their order. ``path`` is for the error only.

    :raises CorruptFile: a line cannot be understood.
    """
    return [_record_of(path, line) for line in read_document(path, content).lines]


def write_text(path: str, records: Iterable[TokenRecord], present: bytes) -> bytes:
    """The file with these records, and with the comments of what is ``present``.

    :raises CorruptFile: that cannot be understood.
    """
    comments = read_document(path, present).comments or HEADER
    lines = [_line(record) for record in sorted(records, key=lambda record: record.id)]
    return "".join(f"{line}\n" for line in (*comments, *lines)).encode()


# --- reading ----------------------------------------------------------------------------------------------------------

_Value: TypeAlias = str | int | bool | list[str]

_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_TEXTS: Final = frozenset({"label", "account"})


def _record_of(path: str, line: Line) -> TokenRecord:
    try:
        return _record(line.text)
    except ValueError as error:
        raise CorruptFile(path, f"line {line.number}", str(error)) from None


@lru_cache(MOST_CACHED)
def _record(line: str) -> TokenRecord:
    """:raises ValueError: why it is none, in words that hold nothing of the line but names of fields."""
    match read_link(line).parts:
        case (Word(text="token"), Word(text=token_id), *fields):
            known, unknown = _sorted_out(fields)
            return normal(msgspec.convert({"id": token_id, **known, "unknown_links": unknown}, TokenRecord))
        case (Word(text="token"), *_):
            raise ValueError("the token has no id")
        case _:
            raise ValueError("it is of an unknown kind")


def _sorted_out(fields: list[Part]) -> tuple[dict[str, _Value], Unknown]:
    known: dict[str, _Value] = {}
    unknown: dict[str, str] = {}
    for field in fields:
        match field:
            case Link(parts=(Word(text=name), *values)) if name not in KNOWN_FIELDS:
                unknown[name] = " ".join(filter(None, (unknown.get(name), write_part(field))))
            case Link(parts=(Word(text=name), *values)):
                if name in known or name == "id":
                    raise ValueError(f"the field {name} is there twice")
                known[name] = _value(name, values)
            case _:
                raise ValueError("a field has no name")
    return known, tuple(sorted(unknown.items()))


def _value(name: str, values: list[Part]) -> _Value:
    words = [value.text for value in values if isinstance(value, Word)]
    if len(words) != len(values) or not words:
        raise ValueError(f"the field {name} has no value")
    if name == "models":
        return words
    if len(words) > 1:
        raise ValueError(f"the field {name} has more than one value")
    text = words[0]
    if name in _TEXTS:
        return text
    if name == "revoked":
        if text.lower() not in _TRUTHS:
            raise ValueError("the field revoked is neither true nor false")
        return _TRUTHS[text.lower()]
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"the field {name} is not a number")
    return int(text)


# --- writing ----------------------------------------------------------------------------------------------------------


@lru_cache(MOST_CACHED)
def _line(record: TokenRecord) -> str:
    fields = record.fields()
    del fields["id"]
    links = [write_part(_link(name, value)) for name, value in fields.items() if value is not None]
    unknown = [written for _, written in record.unknown_links]
    return f"({' '.join([KIND, write_part(word(record.id)), *links, *unknown])})"


def _link(name: str, value: str | int | bool | list[str]) -> Link:
    match value:
        case bool():
            words = [Word("true" if value else "false")]
        case int():
            words = [Word(str(value))]
        case str():
            words = [Word(value, quoted=True)]
        case _:
            words = [Word(text, quoted=True) for text in value]
    return Link((Word(name), *words))
