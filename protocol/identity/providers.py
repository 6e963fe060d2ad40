"""Providers that speak OpenAI's protocol: their records, and the file that keeps them.

The file, ``providers.lenv``, has one line for each record, ``PROVIDER: {json}``, sorted by name. A change touches the
lines it is about; comments, lines that mean nothing to us, and fields of later versions stay as they are.

A key goes to the place it was given for and nowhere else. So a change that says nothing about the key keeps what is
stored only while ``base_url`` and ``proxy`` stay as they are; where either changes, the key has to be given again. (The
Rust program drops the key whenever a change gives none.)
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from protocol.config import OpenAiApi
from protocol.errors import LocalError, Refusal
from protocol.files import Contents, CorruptFile, FileContent, Missing, Unreadable
from protocol.identity.sealing import NONCE_BYTES, Envelope, Sealer
from protocol.identity.upstream_url import ProxyUrl, base_url
from protocol.kinds import BOOLEAN_WORDS
from protocol.values import BaseUrl, Secret

T = TypeVar("T")

STORE_FILE: Final = "providers.lenv"
"""In the data directory."""


class ProviderKind(Enum):
    """What a provider is."""

    OPENAI_COMPATIBLE = "openai-compatible"


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """One provider as it is stored; the fields are those of the JSON.

    :param api_key_env: the environment variable that has the key; it counts before the stored key.
    :param encrypted_api_key: the stored key in its envelope.
    :param models_prefix: stands for ``name`` in ``name/model``.
    :param counts_tokens: it has Anthropic's ``/v1/messages/count_tokens``, as LiteLLM and llama.cpp do.
    :param max_output_tokens: the most that its models can answer with; translated requests that ask for more get this.
    :param unknown: fields of a later version, as name and JSON.
    """

    name: str
    base_url: BaseUrl
    kind: ProviderKind = ProviderKind.OPENAI_COMPATIBLE
    default_model: str | None = None
    models: tuple[str, ...] = ()
    api_key_env: str | None = None
    encrypted_api_key: Secret | None = None
    enabled: bool = True
    api: OpenAiApi | None = None
    proxy: ProxyUrl | None = None
    models_prefix: str | None = None
    max_output_tokens: int | None = None
    counts_tokens: bool = False
    unknown: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def redacted(self) -> dict[str, object]:
        """The record as JSON values for people to see: whether there is a stored key, not what it is."""
        return _fields_of(self, {"has_encrypted_api_key": self.encrypted_api_key is not None})


class FieldFault(ValueError):
    """A field of a record that cannot be used as it is. The text names it and holds nothing of a key."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


def read_record(values: Mapping[str, object]) -> ProviderRecord:
    """A record from its JSON values, without what they say of a key.

    :raises FieldFault: a field is missing or cannot be used.
    """
    return ProviderRecord(
        name=_required("name", optional(values, "name", _name)),
        base_url=_required("base_url", optional(values, "base_url", lambda value: base_url(text_of(value)))),
        kind=optional(values, "kind", _kind) or ProviderKind.OPENAI_COMPATIBLE,
        default_model=optional(values, "default_model", _model),
        models=optional(values, "models", _models) or (),
        enabled=optional(values, "enabled", _boolean) is not False,
        api=optional(values, "api", _api),
        proxy=optional(values, "proxy", lambda value: ProxyUrl.parse(text_of(value))),
        models_prefix=optional(values, "models_prefix", _name),
        max_output_tokens=optional(values, "max_output_tokens", _count),
        counts_tokens=optional(values, "counts_tokens", _boolean) is True,
    )


def optional(values: Mapping[str, object], field: str, read: Callable[[object], T]) -> T | None:
    """What ``read`` makes of a field; None where it is absent, null or an empty text.

    :raises FieldFault: for a ValueError of ``read``.
    """
    value = values.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return read(value)
    except ValueError as error:
        raise FieldFault(field, str(error)) from None


def text_of(value: object) -> str:
    """A JSON text, less the blanks around it.

    :raises ValueError: it is none.
    """
    text = value.strip() if isinstance(value, str) else None
    if text is None or not text.isprintable():
        raise ValueError("expected a text without control characters")
    return text


# --- fields -----------------------------------------------------------------------------------------------------------

NAME: Final = re.compile(r"(?!\.+\Z)[A-Za-z0-9._-]{1,128}")
MOST_MODEL_CHARACTERS: Final = 256
MOST_OUTPUT_TOKENS: Final = 10**9

ORIGINAL_KIND: Final = "open-a-i-compatible"
"""How the Rust program writes the kind, and the only spelling it reads in its store."""

KIND_SPELLINGS: Final = dict.fromkeys(
    (ProviderKind.OPENAI_COMPATIBLE.value, ORIGINAL_KIND, "openai", "openai_like", "litellm"),
    ProviderKind.OPENAI_COMPATIBLE,
)
API_SPELLINGS: Final = {api.value: api for api in OpenAiApi}

STORED_FIELDS: Final = frozenset(
    {
        "name", "kind", "base_url", "default_model", "models", "api_key_env", "encrypted_api_key", "enabled",
        "api", "proxy", "models_prefix", "max_output_tokens",
        "counts_tokens",
    }
)  # fmt: skip


def _fields_of(record: ProviderRecord, of_the_key: Mapping[str, object]) -> dict[str, object]:
    fields: dict[str, object] = {
        "name": record.name,
        "kind": record.kind.value,
        "base_url": str(record.base_url),
        "default_model": record.default_model,
        "models": list(record.models),
        "api_key_env": record.api_key_env,
        **of_the_key,
        "enabled": record.enabled,
        "api": None if record.api is None else record.api.value,
        "proxy": None if record.proxy is None else str(record.proxy),
        "models_prefix": record.models_prefix,
        "max_output_tokens": record.max_output_tokens,
        "counts_tokens": record.counts_tokens or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _required(field: str, value: T | None) -> T:
    if value is None:
        raise FieldFault(field, "it is required")
    return value


def _name(value: object) -> str:
    text = text_of(value)
    if not NAME.fullmatch(text):
        raise ValueError("expected ASCII letters, digits, '-', '_' and '.', at most 128 of them and not dots alone")
    return text


def _kind(value: object) -> ProviderKind:
    return _spelled(value, KIND_SPELLINGS)


def _api(value: object) -> OpenAiApi:
    return _spelled(value, API_SPELLINGS)


def _spelled(value: object, spellings: Mapping[str, T]) -> T:
    meant = spellings.get(text_of(value).lower())
    if meant is None:
        raise ValueError(f"expected one of {', '.join(spellings)}")
    return meant


def _model(value: object) -> str:
    text = text_of(value)
    if len(text) > MOST_MODEL_CHARACTERS:
        raise ValueError(f"a model's name has at most {MOST_MODEL_CHARACTERS} characters")
    return text


def _models(value: object) -> tuple[str, ...]:
    """A list, or a text with commas; empty names are dropped, a name given twice counts once."""
    if isinstance(value, list | str):
        entries = value.split(",") if isinstance(value, str) else value
        return tuple(dict.fromkeys(filter(None, map(_model, entries))))
    raise ValueError("expected a list of models")


def _count(value: object) -> int:
    """A number, or a text of one."""
    number = int(value) if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_OUTPUT_TOKENS:
        raise ValueError(f"expected a whole number from 1 to {MOST_OUTPUT_TOKENS}")
    return number


def _boolean(value: object) -> bool:
    meant = BOOLEAN_WORDS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(meant, bool):
        raise ValueError("expected true or false")  # noqa: TRY004  # the value is at fault, not our code
    return meant


# --- the file ---------------------------------------------------------------------------------------------------------


def read_store(path: str, content: FileContent) -> dict[str, ProviderRecord]:
    """The records of a store file, sorted by name; of two with one name the later counts.

    :raises CorruptFile: it cannot be read, or a line of it cannot.
    """
    records = {line.record.name: line.record for line in _lines(path, content) if line.record is not None}
    return dict(sorted(records.items()))


HEADER: Final = (
    b"# Providers of the router, one in each line that begins with PROVIDER; keys are sealed under TOKEN_SECRET.",
    b"# Better changed with `link-assistant-router providers` than by hand.",
)
MARK: Final = "PROVIDER:"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line without its end; ``record`` is None for one that is no record."""

    content: bytes
    record: ProviderRecord | None = None


def _lines(path: str, content: FileContent) -> list[_Line]:
    if isinstance(content, Unreadable):
        raise CorruptFile(path, "the whole file", content.reason)
    if isinstance(content, Missing) or not content.strip():
        return [_Line(line) for line in HEADER]
    return [_line(path, number, line) for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1)]


def _line(path: str, number: int, content: bytes) -> _Line:
    try:
        text = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        return _Line(content, _stored(text.removeprefix(MARK)) if text.startswith(MARK) else None)
    except UnicodeDecodeError:
        raise CorruptFile(path, f"line {number}", "it is not UTF-8") from None
    except FieldFault as fault:
        raise CorruptFile(path, f"line {number}", str(fault)) from None
    except (msgspec.DecodeError, RecursionError):
        raise CorruptFile(path, f"line {number}", "what follows PROVIDER: is not a JSON object") from None


def _stored(text: str) -> ProviderRecord:
    values = msgspec.json.decode(text, type=dict[str, Any])
    if values.get("api_key"):
        raise FieldFault("api_key", "a key does not belong here in the clear; use `providers add`")
    raw = msgspec.json.decode(text, type=dict[str, Raw])
    envelope = optional(values, "encrypted_api_key", text_of)
    return replace(
        read_record(values),
        api_key_env=optional(values, "api_key_env", text_of),
        encrypted_api_key=None if envelope is None else Secret(envelope),
        unknown=tuple((name, bytes(value)) for name, value in raw.items() if name not in STORED_FIELDS),
    )


def _written(record: ProviderRecord, for_original: bool) -> _Line:
    envelope = record.encrypted_api_key
    fields = _fields_of(record, {"encrypted_api_key": None if envelope is None else envelope.reveal()})
    if for_original:
        fields["kind"] = ORIGINAL_KIND
    fields |= {name: Raw(value) for name, value in record.unknown}
    return _Line(MARK.encode() + b" " + msgspec.json.encode(fields), record)


def _edited(lines: Iterable[_Line], changes: Mapping[str, ProviderRecord | None], for_original: bool = False) -> bytes:
    """The file with these records put in place, None standing for removal; each other line stays where it is.

    For the Rust program every record is written anew: it reads no file with one line in our spelling.
    """
    left = {name: record for name, record in changes.items() if record is not None}
    kept = []
    for line in lines:
        record = line.record
        if record is not None and record.name in changes:
            record = left.pop(record.name, None)
            if record is not None:
                kept.append(_written(record, for_original))
        else:
            kept.append(_written(record, True) if record is not None and for_original else line)
    for name in sorted(left):
        kept.insert(_place(kept, name), _written(left[name], for_original))
    return b"".join(line.content + b"\n" for line in kept)


def _place(lines: Sequence[_Line], name: str) -> int:
    """Behind the last record that comes before ``name``, else ahead of the first record, else at the end."""
    names = [(place, line.record.name) for place, line in enumerate(lines) if line.record is not None]
    before = [place + 1 for place, other in names if other < name]
    return before[-1] if before else names[0][0] if names else len(lines)


# --- changes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GivenKey:
    """What a change says about the key: None is nothing, an empty text is that there shall be none."""

    api_key: Secret | None = None
    api_key_env: str | None = None
    encrypted_api_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class ProviderDraft:
    """A record as somebody wants it; all about its key is in ``key``."""

    record: ProviderRecord
    key: GivenKey = GivenKey()


@dataclass(frozen=True, slots=True)
class Upsert:
    """Add or replace providers, all or none: an ``Update`` of the store at ``path``.

    It declines, changing nothing, where a key has to be given again. :meth:`outcome` tells.
    """

    path: str
    wanted: tuple[ProviderDraft, ...]
    for_original: bool

    def __call__(self, contents: Contents) -> dict[str, bytes]:
        lines = _lines(self.path, _content(contents, self.path))
        try:
            settled = self._settled(lines)
        except Refusal:
            return {}
        return {self.path: _edited(lines, {record.name: record for record in settled}, self.for_original)}

    def outcome(self, after: Contents) -> list[ProviderRecord]:
        """The records as they are stored, from what the file holds after the update.

        :raises Refusal: 400, it declined: which provider lacks its key.
        :raises CorruptFile: the file cannot be understood.
        """
        return self._settled(_lines(self.path, _content(after, self.path)))

    def _settled(self, lines: Iterable[_Line]) -> list[ProviderRecord]:
        stored = {line.record.name: line.record for line in lines if line.record is not None}
        return [_settle(draft, stored.get(draft.record.name)) for draft in self.wanted]


def upsert(path: str, drafts: Iterable[ProviderDraft], sealer: Sealer, entropy: Callable[[int], bytes]) -> Upsert:
    """The change that stores ``drafts``, their keys sealed; one with an envelope of its own keeps that.

    With a sealer that writes the first version of envelopes, the lines too are such that the Rust program reads them.
    """
    wanted = tuple(_sealed(draft, sealer, entropy) for draft in drafts)
    return Upsert(path, wanted, sealer.writes is Envelope.V1)


@dataclass(frozen=True, slots=True)
class Removal:
    """Remove a provider: an ``Update`` of the store at ``path``, which changes nothing where there is none."""

    path: str
    name: str

    def __call__(self, contents: Contents) -> dict[str, bytes]:
        lines = _lines(self.path, _content(contents, self.path))
        if not any(line.record is not None and line.record.name == self.name for line in lines):
            return {}
        return {self.path: _edited(lines, {self.name: None})}


def _content(contents: Contents, path: str) -> FileContent:
    for name, content in contents:
        if name == path:
            return content
    raise LocalError("the provider store was not among the files of its update")


def _sealed(draft: ProviderDraft, sealer: Sealer, entropy: Callable[[int], bytes]) -> ProviderDraft:
    record, given = draft.record, draft.key.api_key
    if given is None:
        return draft
    envelope = given
    if given.reveal():
        envelope = sealer.seal(given, record.name, str(record.base_url), entropy(NONCE_BYTES))
    return ProviderDraft(record, GivenKey(api_key_env=draft.key.api_key_env, encrypted_api_key=envelope))


def _settle(draft: ProviderDraft, stored: ProviderRecord | None) -> ProviderRecord:
    """The record to store in place of ``stored``; with itself stored it is the same."""
    wanted, variable = draft.record, draft.key.api_key_env
    envelope = None if draft.key.encrypted_api_key is None else draft.key.encrypted_api_key.reveal()
    if stored is not None:
        wanted = replace(wanted, unknown=stored.unknown)
        if (stored.base_url, stored.proxy) == (wanted.base_url, wanted.proxy):
            if variable is None and not envelope:  # the variable would count before a key that was just given
                variable = stored.api_key_env
            if envelope is None and stored.encrypted_api_key is not None:
                envelope = stored.encrypted_api_key.reveal()
        elif variable is None and envelope is None and (stored.api_key_env or stored.encrypted_api_key):
            raise Refusal(
                400,
                f"provider {stored.name!r} has a key for another base_url or proxy: give api_key or api_key_env again, "
                "or an empty api_key for none",
                param="api_key",
            )
    return replace(wanted, api_key_env=variable or None, encrypted_api_key=Secret(envelope) if envelope else None)
