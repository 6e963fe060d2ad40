"""Which Claude model answers for the name a client asked for, and the model lists in both APIs' shapes."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from protocol.errors import Refusal
from protocol.translate.capabilities import capabilities_of

NATIVE_PREFIX: Final = "claude-"
OWNER: Final = "anthropic"


class Release(NamedTuple):
    """A Claude model as the lists show it; ``created`` is the day of its release, in epoch seconds."""

    id: str
    display_name: str
    created: int


def _released(model: str, display_name: str, year: int, month: int, day: int) -> Release:
    return Release(model, display_name, int(datetime(year, month, day, tzinfo=UTC).timestamp()))


CATALOGUE: Final = (
    _released("claude-fable-5-2", "Claude Fable 5.2", 2026, 11, 9),
    _released("claude-haiku-5-5", "Claude Haiku 5.5", 2026, 10, 7),
    _released("claude-sonnet-5-5", "Claude Sonnet 5.5", 2026, 9, 28),
    _released("claude-opus-5-5", "Claude Opus 5.5", 2026, 9, 22),
    _released("claude-fable-5-1", "Claude Fable 5.1", 2026, 9, 1),
    _released("claude-opus-5", "Claude Opus 5", 2026, 7, 24),
    _released("claude-sonnet-5", "Claude Sonnet 5", 2026, 6, 30),
    _released("claude-fable-5", "Claude Fable 5", 2026, 6, 9),
    _released("claude-opus-4-8", "Claude Opus 4.8", 2026, 5, 28),
    _released("claude-opus-4-7", "Claude Opus 4.7", 2026, 4, 16),
    _released("claude-sonnet-4-6", "Claude Sonnet 4.6", 2026, 2, 17),
    _released("claude-opus-4-6", "Claude Opus 4.6", 2026, 2, 5),
    _released("claude-opus-4-5-20251101", "Claude Opus 4.5", 2025, 11, 24),
    _released("claude-haiku-4-5-20251001", "Claude Haiku 4.5", 2025, 10, 15),
    _released("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", 2025, 9, 29),
)
"""Models listed without asking the upstream, newest first (Anthropic's release notes)."""

_RELEASES: Final = {release.id: release for release in CATALOGUE}


class _Wildcard(NamedTuple):
    pattern: re.Pattern[str]
    target: str


class ModelTable:
    """The operator's mapping from requested names to Claude models.

    A ``claude-`` name stands for itself. Else an exact entry wins over a wildcard, and among wildcards the one with
    the most literal characters, the earlier one at a tie. What nothing matches goes to the fallback, if there is one.
    """

    def __init__(self, rules: Mapping[str, str], fallback: str | None = None) -> None:
        self.fallback = fallback
        self._exact = {name: target for name, target in rules.items() if "*" not in name}
        by_precision = sorted((name for name in rules if "*" in name), key=_literal_length, reverse=True)
        self._wildcards = [_Wildcard(_compiled(name), rules[name]) for name in by_precision]

    def resolve(self, requested: str) -> str:
        """The upstream model for a requested name.

        :raises Refusal: 404 ``model_not_found``, when nothing maps the name and no fallback is set.
        """
        if requested.startswith(NATIVE_PREFIX):
            return requested
        target = self._exact.get(requested)
        if target is not None:
            return target
        for wildcard in self._wildcards:
            if wildcard.pattern.fullmatch(requested):
                return wildcard.target
        if self.fallback is not None:
            return self.fallback
        raise Refusal(404, f"The model '{requested}' does not exist here.", param="model", code="model_not_found")

    def entries(self) -> Iterator[Release]:
        """Every name worth listing: the Claude models, then the exact names of the map."""
        yield from CATALOGUE
        for name in self._exact:
            yield self.entry(name)

    def entry(self, name: str) -> Release:
        """One model by any name that resolves; an unheard-of model was created at 0, as Anthropic's API puts it.

        :raises Refusal: 404 ``model_not_found``.
        """
        target = self.resolve(name)
        release = _RELEASES.get(target, Release(target, target, 0))
        return release if name == target else Release(name, f"{name} ({release.display_name})", release.created)


def list_openai(models: ModelTable) -> bytes:
    """The body of ``GET /v1/models`` for an OpenAI client."""
    return msgspec.json.encode({"object": "list", "data": [_openai_model(entry) for entry in models.entries()]})


def retrieve_openai(models: ModelTable, name: str) -> bytes:
    """The body of ``GET /v1/models/{name}`` for an OpenAI client.

    :raises Refusal: 404 ``model_not_found``.
    """
    return msgspec.json.encode(_openai_model(models.entry(name)))


def list_anthropic(models: ModelTable) -> bytes:
    """The body of ``GET /v1/models`` for an Anthropic client: everything on one page."""
    data = [_anthropic_model(models, entry) for entry in models.entries()]
    page = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return msgspec.json.encode(page)


def retrieve_anthropic(models: ModelTable, name: str) -> bytes:
    """The body of ``GET /v1/models/{name}`` for an Anthropic client.

    :raises Refusal: 404 ``not_found_error``.
    """
    return msgspec.json.encode(_anthropic_model(models, models.entry(name)))


def _openai_model(entry: Release) -> dict[str, object]:
    return {"id": entry.id, "object": "model", "created": entry.created, "owned_by": OWNER}


def _anthropic_model(models: ModelTable, entry: Release) -> dict[str, object]:
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.display_name,
        "created_at": datetime.fromtimestamp(entry.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_tokens": capabilities_of(models.resolve(entry.id)).output_tokens,
    }


def _literal_length(pattern: str) -> int:
    return len(pattern.replace("*", ""))


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
