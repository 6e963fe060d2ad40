"""What each token has used, counted in memory and added up in a file with the counts of other routers.

``token_usage.json`` is ``{"tokens": {ID: {"requests": N, "input_tokens": N, ..., "last_used": SECONDS}}}``. A router
writes only what it counted since its last write, on top of what the file says by then, so no count is lost or counted
twice. It writes every few seconds at most; what it has not written yet dies with the process.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, final

import msgspec
from msgspec import Meta, Raw

from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, Update
from protocol.identity.token_files import KEEP_SECONDS, bytes_of
from protocol.identity.token_record import MOST, Count
from protocol.values import Tokens

FLUSH_SECONDS: Final = 5.0
"""From the first count that is not saved to its saving: the least time between two writes."""

RETRY_SECONDS: Final = 30.0
"""After a write that failed."""


class TokenUsage(msgspec.Struct, frozen=True):
    """Requests that were sent on and tokens they were billed for; ``input_tokens`` is without the cached ones.

    :param last_used: epoch seconds, 0 for never.
    """

    requests: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_creation_tokens: Count = 0
    cache_read_tokens: Count = 0
    last_used: Annotated[int, Meta(ge=0, le=MOST)] = 0

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            requests=min(self.requests + other.requests, MOST),
            input_tokens=min(self.input_tokens + other.input_tokens, MOST),
            output_tokens=min(self.output_tokens + other.output_tokens, MOST),
            cache_creation_tokens=min(self.cache_creation_tokens + other.cache_creation_tokens, MOST),
            cache_read_tokens=min(self.cache_read_tokens + other.cache_read_tokens, MOST),
            last_used=max(self.last_used, other.last_used),
        )

    @property
    def tokens(self) -> int:
        """Of every kind."""
        return self.input_tokens + self.output_tokens + self.cache_creation_tokens + self.cache_read_tokens


NOTHING: Final = TokenUsage()


def usage_of(tokens: Tokens, wall: float) -> TokenUsage:
    """One request that ended at ``wall`` (epoch seconds)."""
    return TokenUsage(1, tokens.input, tokens.output, tokens.cache_creation, tokens.cache_read, int(wall))


@final
class UsageBook:
    """The counts of this router and, as of the last write or look, of all that share the file.

    :param kept: whether there is a file; without one nothing is ever due.
    """

    def __init__(self, *, kept: bool = True) -> None:
        self._kept = kept
        self._counts: dict[str, TokenUsage] = {}
        """What the file held when it was last written or seen, and everything counted since."""
        self._unsaved: dict[str, TokenUsage] = {}
        self._saving: dict[str, TokenUsage] | None = None
        self._seen: Contents | None = None
        self._due: float | None = None

    def of(self, token_id: str) -> TokenUsage:
        """All that a token has used, as far as it is known here."""
        return self._counts.get(token_id, NOTHING)

    @property
    def counts(self) -> Mapping[str, TokenUsage]:
        """The same of every token that has used anything, by id."""
        return self._counts

    def add(self, token_id: str, usage: TokenUsage, now: float) -> None:
        """Count it, at ``now`` (monotonic seconds)."""
        self._counts[token_id] = self._counts.get(token_id, NOTHING) + usage
        if self._kept:
            self._unsaved[token_id] = self._unsaved.get(token_id, NOTHING) + usage
            if self._due is None:
                self._due = now + FLUSH_SECONDS

    @property
    def unsaved(self) -> bool:
        """Something was counted that the file does not have yet."""
        return bool(self._unsaved or self._saving)

    @property
    def due(self) -> float | None:
        """When to save (monotonic seconds); None if there is nothing to save, or a save is under way."""
        return self._due if self._saving is None else None

    def saving(self, *, known: Collection[str], wall: float, keep_seconds: float = KEEP_SECONDS) -> Update:
        """Begin a save, which ends with ``saved`` or ``failed``; it must be carried out at most once.

        Counts of tokens that are not ``known`` any more go after ``keep_seconds`` without use.
        """
        if self._saving is not None:
            raise LocalError("one save at a time: each adds to the file")
        added, self._saving, self._unsaved, self._due = self._unsaved, self._unsaved, {}, None
        known = frozenset(known)

        def update(files: Contents) -> Mapping[str, bytes]:
            ((path, content),) = files
            return {path: _added_up(path, bytes_of(path, content), added, known, wall - keep_seconds)}

        return update

    def saved(self, files: Contents) -> None:
        """The save was carried out, and the file holds this now.

        :raises CorruptFile: it cannot be understood; then the counts stay as they are.
        """
        self._saving = None
        self._counts = _sum(read_usage(files), self._unsaved)
        self._take_seen()

    def failed(self, now: float) -> None:
        """The save changed nothing, at ``now`` (monotonic seconds)."""
        self._unsaved = _sum(self._saving or {}, self._unsaved)
        self._saving = None
        self._due = now + RETRY_SECONDS
        self._take_seen()

    def loaded(self, files: Contents) -> None:
        """The file was seen to hold this, perhaps some time ago; for the start, and for counts of others meanwhile.
        During a save nobody knows whether what is saved is in there, so that it is put off until then.

        :raises CorruptFile: it cannot be understood; then the counts stay as they are.
        """
        if self._saving is None:
            self._counts = _larger(self._counts, _sum(read_usage(files), self._unsaved))
        else:
            read_usage(files)
            self._seen = files

    def _take_seen(self) -> None:
        seen, self._seen = self._seen, None
        if seen is not None:
            self.loaded(seen)


def read_usage(files: Contents) -> dict[str, TokenUsage]:
    """What the file holds, by token id. If it is not there, or empty, it holds nothing.

    :raises CorruptFile: it cannot be read or understood.
    """
    usage: dict[str, TokenUsage] = {}
    for path, content in files:
        usage = _sum(usage, _File(path, bytes_of(path, content)).usage)
    return usage


# --- the file ---------------------------------------------------------------------------------------------------------

TOKENS: Final = "tokens"

_PLACE: Final = re.compile(r"\((byte [0-9]+)\)$")


@final
class _File:
    """A usage file taken apart; fields that are not known here are kept as they are.

    :raises CorruptFile: it cannot be understood.
    """

    def __init__(self, path: str, content: bytes) -> None:
        self.fields: dict[str, Raw] = {}
        self.entries: dict[str, dict[str, Raw]] = {}
        self.usage: dict[str, TokenUsage] = {}
        if not content.strip():
            return
        try:
            content.decode()  # what is kept raw is not looked into
            msgspec.json.decode(content)
            self.fields = msgspec.json.decode(content, type=dict[str, Raw])
            tokens = self.fields.get(TOKENS, b"{}")
            self.entries = msgspec.json.decode(tokens, type=dict[str, dict[str, Raw]])
            self.usage = msgspec.json.decode(tokens, type=dict[str, TokenUsage])
        except msgspec.ValidationError:
            raise CorruptFile(path, "byte 0", "it does not hold counts by token") from None
        except UnicodeDecodeError as error:
            raise CorruptFile(path, f"byte {error.start}", "it is not UTF-8") from None
        except (msgspec.DecodeError, RecursionError) as error:
            place = _PLACE.search(str(error))
            raise CorruptFile(path, place[1] if place else "byte 0", "it is not JSON") from None


def _added_up(
    path: str, content: bytes, added: Mapping[str, TokenUsage], known: Collection[str], forget_before: float
) -> bytes:
    file = _File(path, content)
    entries: dict[str, Any] = {}
    for token_id, usage in _sum(file.usage, added).items():
        if token_id in added:
            entries[token_id] = file.entries.get(token_id, {}) | msgspec.structs.asdict(usage)
        elif token_id in known or usage.last_used >= forget_before:
            entries[token_id] = file.entries[token_id]
    return msgspec.json.encode(file.fields | {TOKENS: entries}) + b"\n"


def _sum(one: Mapping[str, TokenUsage], other: Mapping[str, TokenUsage]) -> dict[str, TokenUsage]:
    return {**one, **{token_id: one.get(token_id, NOTHING) + usage for token_id, usage in other.items()}}


def _larger(one: Mapping[str, TokenUsage], other: Mapping[str, TokenUsage]) -> dict[str, TokenUsage]:
    """Counts only grow, so of two that were seen of a token the larger is the newer."""
    return {**one, **{token_id: max(one.get(token_id, NOTHING), usage, key=_size) for token_id, usage in other.items()}}


def _size(usage: TokenUsage) -> tuple[int, int, int]:
    return usage.requests, usage.tokens, usage.last_used
