"""What people write about providers: JSON, the lines of a store file, or names with indented fields below them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from protocol.config import SETTINGS
from protocol.identity.providers import (
    MARK,
    FieldFault,
    GivenKey,
    ProviderDraft,
    optional,
    read_record,
    text_of,
)
from protocol.identity.upstream_url import OriginGuard
from protocol.kinds import VISIBLE
from protocol.values import Secret


class ImportFault(ValueError):
    """What was to be imported cannot be: the line, and why. Nothing of a key is in the text."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


def read_import(content: bytes, guard: OriginGuard) -> list[ProviderDraft]:
    """The providers in a file of any of the four forms, which are told apart by how it begins.

    - ``{``: one record, or ``{"providers": [...]}``
    - ``[``: a list of records
    - lines that begin with ``PROVIDER:``: a store file, whose stored keys come along
    - else names, each followed by indented lines of a field and its value

    :raises ImportFault: it holds no providers, or one that cannot be used.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportFault(_line_of(content, error.start), "it is not UTF-8") from None
    drafts: dict[str, ProviderDraft] = {}
    for entry in _entries(text):
        draft = entry.read(guard)
        if draft.record.name in drafts:
            raise ImportFault(entry.line, f"provider {draft.record.name!r} is there twice")
        drafts[draft.record.name] = draft
    if not drafts:
        raise ImportFault(1, "it holds no providers")
    return list(drafts.values())


def read_draft(fields: Mapping[str, object], guard: OriginGuard, *, sealed_keys: bool = False) -> ProviderDraft:
    """One provider from JSON values, their names in any of the spellings.

    An absent or null ``api_key`` or ``api_key_env`` leaves what is stored, an empty one takes it away.

    :param sealed_keys: whether ``encrypted_api_key`` is taken. From somebody who may add providers, but not read the
        store, it is not: an envelope of the first version would open for whatever place they name.
    :raises FieldFault: an unknown field, or one that is missing or cannot be used.
    """
    values = _respelled(fields)
    record = read_record(values)
    _admitted("base_url", record.base_url.origin.host, guard)
    if record.proxy is not None:
        _admitted("proxy", record.proxy.host, guard)
    envelope = optional(values, "encrypted_api_key", text_of)
    if envelope is not None and not sealed_keys:
        raise FieldFault("encrypted_api_key", "it is taken from files only; give api_key")
    api_key = optional(values, "api_key", _api_key)
    if api_key is None and envelope is None and "api_key" in values:
        api_key = Secret("")
    variable = optional(values, "api_key_env", _variable) or ("" if "api_key_env" in values else None)
    return ProviderDraft(record, GivenKey(api_key, variable, None if envelope is None else Secret(envelope)))


# --- fields -----------------------------------------------------------------------------------------------------------

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": (),
    "kind": (),
    "base_url": ("base-url", "api_base", "api-base"),
    "default_model": ("default-model", "model"),
    "models": (),
    "api_key": ("api-key",),
    "api_key_env": ("api-key-env",),
    "encrypted_api_key": ("encrypted-api-key",),
    "enabled": (),
    "api": (),
    "proxy": (),
    "models_prefix": ("models-prefix",),
    "max_output_tokens": ("max-output-tokens",),
    "counts_tokens": ("counts-tokens",),
}
FIELDS: Final = {spelling: field for field, others in SPELLINGS.items() for spelling in (field, *others)}

READ_ONLY: Final = "has_encrypted_api_key"
"""Part of what people are shown, so that they may send it back."""

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

OWN_SECRETS: Final = frozenset(row.env for row in SETTINGS if row.kind.secret)
"""Whoever may add providers could have these sent to a place of their own."""


def _respelled(fields: Mapping[str, object]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in fields.items():
        field = FIELDS.get(name)
        if field is None and name != READ_ONLY:
            raise _unknown(name)
        if field is None or value is None:
            continue
        if field in values:
            raise FieldFault(field, "it is there twice")
        values[field] = value
    return values


def _admitted(field: str, host: str, guard: OriginGuard) -> None:
    try:
        guard.check(host)
    except ValueError as error:
        raise FieldFault(field, str(error)) from None


def _unknown(name: str) -> FieldFault:
    return FieldFault(repr(name[:100]), f"there is no such field; there are {', '.join(SPELLINGS)}")


def _api_key(value: object) -> Secret:
    if not isinstance(value, str) or not VISIBLE.fullmatch(value.strip()):
        raise ValueError("expected a key of visible ASCII characters")
    return Secret(value.strip())


def _variable(value: object) -> str:
    text = text_of(value)
    if not VARIABLE.fullmatch(text):
        raise ValueError("expected the name of an environment variable, not its value")
    if text in OWN_SECRETS:
        raise ValueError(f"{text} is the router's own and is sent to no provider")
    return text


# --- forms ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """The fields of one provider, the line it begins at, and the lines of its fields where each has its own."""

    line: int
    fields: dict[str, object]
    lines: dict[str, int]

    def read(self, guard: OriginGuard) -> ProviderDraft:
        try:
            return read_draft(self.fields, guard, sealed_keys=True)
        except FieldFault as fault:
            raise ImportFault(self.lines.get(fault.field, self.line), str(fault)) from None


def _entries(text: str) -> Iterator[_Entry]:
    lines = [(number, line.strip(), line[:1].isspace()) for number, line in enumerate(text.split("\n"), start=1)]
    if text.lstrip().startswith(("{", "[")):
        return _json_entries(text.encode())
    if any(line.startswith(MARK) for _, line, _ in lines):
        return (_object(line.removeprefix(MARK).encode(), number) for number, line, _ in lines if line.startswith(MARK))
    return _indented_entries((number, line, indented) for number, line, indented in lines if line and line[0] != "#")


def _json_entries(content: bytes) -> Iterator[_Entry]:
    _decoded(content, 1)
    records = content
    if content.lstrip().startswith(b"{"):
        records = bytes(msgspec.json.decode(content, type=dict[str, Raw]).get("providers", b""))
        if not records.startswith(b"["):
            yield _object(content, 1)
            return
    start = content.find(records)
    for record in msgspec.json.decode(records, type=list[Raw]):
        start = content.find(record, start)
        yield _object(bytes(record), _line_of(content, start))
        start += len(bytes(record))


def _object(content: bytes, line: int) -> _Entry:
    fields = _decoded(content, line)
    if not isinstance(fields, dict):
        raise ImportFault(line, "expected a record, as a JSON object")
    return _Entry(line, fields, {})


def _decoded(content: bytes, line: int) -> Any:
    """A JSON document that begins on ``line``."""
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        place = BYTE.search(str(error))
        end = len(content) if place is None else int(place[1])
        raise ImportFault(line - 1 + _line_of(content, end), str(error)) from None
    except RecursionError:
        raise ImportFault(line, "it is nested too deeply") from None


BYTE: Final = re.compile(r"\(byte (\d+)\)")


def _line_of(content: bytes, offset: int) -> int:
    return content.count(b"\n", 0, offset) + 1


def _indented_entries(lines: Iterable[tuple[int, str, bool]]) -> Iterator[_Entry]:
    """Entries from lines that say something: their numbers, their texts, and whether they are indented."""
    entry: _Entry | None = None
    for number, line, indented in lines:
        if not indented:
            if entry is not None:
                yield entry
            entry = _Entry(number, {"name": _unquoted(line)}, {})
            continue
        if entry is None:
            raise ImportFault(number, "a field without a name of a provider above it")
        name, *value = line.split(None, 1)
        field = FIELDS.get(name)
        if field is None:
            raise ImportFault(number, str(_unknown(name)))
        if not value:
            raise ImportFault(number, f'{field}: expected a value behind it; "" is an empty one')
        if field in entry.fields:
            raise ImportFault(number, f"{field}: it is there twice")
        entry.fields[field] = _unquoted(value[0])
        entry.lines[field] = number
    if entry is not None:
        yield entry


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
