"""The collections beside the Messages API: models, message batches and files, kept in bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw

from cli.practice.answers import Json, error_body, timestamp
from cli.practice.multipart import form
from cli.practice.prompts import parse
from cli.practice.replies import Reply, identifier, message
from cli.practice.shelf import Shelf
from protocol.errors import Refusal

MODELS: Final = {
    "claude-opus-5-5": ("Claude Opus 5.5", "opus"),
    "claude-sonnet-5-5": ("Claude Sonnet 5.5", "sonnet"),
    "claude-haiku-5-5": ("Claude Haiku 5.5", "haiku"),
}
"""Models on the list; the practice upstream answers for any other name as well."""

LONGEST_PAGE: Final = 1000
DAY: Final = 86_400.0

Answering = Callable[[Raw], Reply]
"""Answers one request of a batch, or raises a Refusal."""


def model(name: str) -> Json:
    """One model's description.

    :raises Refusal: 404 for a model that is not on the list.
    """
    if name not in MODELS:
        raise Refusal(404, f"model: {name}")
    title, line = MODELS[name]
    return {
        "type": "model",
        "id": name,
        "display_name": title,
        "created_at": "2026-10-01T00:00:00Z",
        "lifecycle": "active",
        "line": line,
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
        "capabilities": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def page(items: list[Json], query: Mapping[str, str]) -> Json:
    """A page of a list, with the cursors of both styles: ``after_id`` and ``before_id``, or an opaque ``page``.

    :raises Refusal: 400 for a limit that is not a number from 1 to 1000.
    """
    limit = query.get("limit", "20")
    if not limit.isdecimal() or not 1 <= int(limit) <= LONGEST_PAGE:
        raise Refusal(400, "limit: Input should be a number from 1 to 1000")
    names = [item["id"] for item in items]
    after = query.get("page", "").removeprefix("page_") or query.get("after_id", "")
    before = query.get("before_id", "")
    if before in names:
        end = names.index(before)
        begin = max(0, end - int(limit))
        has_more = begin > 0
    else:
        begin = names.index(after) + 1 if after in names else 0
        end = min(begin + int(limit), len(names))
        has_more = end < len(names)
    shown = items[begin:end]
    return {
        "data": shown,
        "has_more": has_more,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "next_page": f"page_{shown[-1]['id']}" if shown and has_more else None,
    }


class BatchItem(msgspec.Struct, frozen=True):
    custom_id: Annotated[str, Meta(min_length=1, max_length=64)]
    params: Raw


class BatchRequest(msgspec.Struct, frozen=True):
    requests: Annotated[list[BatchItem], Meta(min_length=1, max_length=100_000)]


@dataclass(slots=True)
class Batch:
    """``in_progress`` until somebody asks for it again; the next look finds it ended."""

    id: str
    items: list[BatchItem]
    created_at: float
    status: Literal["in_progress", "canceling", "ended"] = "in_progress"
    canceled_at: float | None = None
    ended_at: float | None = None


class Batches:
    """``/v1/messages/batches``. ``origin`` is what the absolute ``results_url`` starts with."""

    def __init__(self, origin: str, answering: Answering) -> None:
        self._origin = origin
        self._answering = answering
        self._shelf: Shelf[Batch] = Shelf(max_items=100, max_bytes=64 * 1024 * 1024)
        self._created = 0

    def create(self, body: bytes, wall: float) -> Json:
        items = parse(body, BatchRequest).requests
        if len({item.custom_id for item in items}) < len(items):
            raise Refusal(400, "requests: custom_id must be unique")
        self._created += 1
        batch = Batch(identifier("msgbatch", str(self._created).encode()), items, wall)
        self._shelf.put(batch.id, batch, len(body))
        return self._description(batch)

    def retrieve(self, name: str, wall: float) -> Json:
        batch = self._find(name)
        if batch.status != "ended":
            batch.status, batch.ended_at = "ended", wall
        return self._description(batch)

    def list(self, query: Mapping[str, str]) -> Json:
        return page([self._description(batch) for batch in reversed([*self._shelf])], query)

    def cancel(self, name: str, wall: float) -> Json:
        batch = self._find(name)
        if batch.status == "ended":
            raise Refusal(400, "The batch has already ended")
        batch.status, batch.canceled_at = "canceling", wall
        return self._description(batch)

    def delete(self, name: str) -> Json:
        if self._find(name).status != "ended":
            raise Refusal(400, "The batch has not ended yet")
        self._shelf.take(name)
        return {"id": name, "type": "message_batch_deleted"}

    def results(self, name: str) -> Iterator[bytes]:
        """JSON lines, one per request, in reverse order: clients must go by ``custom_id``."""
        batch = self._find(name)
        if batch.status != "ended":
            raise Refusal(404, "The batch has no results yet")
        return (
            msgspec.json.encode({"custom_id": item.custom_id, "result": self._result(batch, item)}) + b"\n"
            for item in reversed(batch.items)
        )

    def _find(self, name: str) -> Batch:
        batch = self._shelf.find(name)
        if batch is None:
            raise Refusal(404, f"No message batch {name}")
        return batch

    def _result(self, batch: Batch, item: BatchItem) -> Json:
        if batch.canceled_at is not None:
            return {"type": "canceled"}
        try:
            return {"type": "succeeded", "message": message(self._answering(item.params))}
        except Refusal as refusal:
            return {"type": "errored", "error": error_body(refusal, None)}

    def _outcome(self, batch: Batch, item: BatchItem) -> str:
        if batch.status != "ended":
            return "processing"
        if batch.canceled_at is not None:
            return "canceled"
        try:
            self._answering(item.params)
        except Refusal:
            return "errored"
        return "succeeded"

    def _description(self, batch: Batch) -> Json:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for item in batch.items:
            counts[self._outcome(batch, item)] += 1
        ended = batch.status == "ended"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": batch.status,
            "request_counts": counts,
            "created_at": timestamp(batch.created_at),
            "expires_at": timestamp(batch.created_at + DAY),
            "ended_at": None if batch.ended_at is None else timestamp(batch.ended_at),
            "cancel_initiated_at": None if batch.canceled_at is None else timestamp(batch.canceled_at),
            "archived_at": None,
            "results_url": f"{self._origin}/v1/messages/batches/{batch.id}/results" if ended else None,
        }


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    filename: str
    mime_type: str
    content: bytes
    created_at: float
    expires_at: float | None

    def description(self) -> Json:
        return {
            "id": self.id,
            "type": "file",
            "filename": self.filename,
            "mime_type": self.mime_type,
            "size_bytes": len(self.content),
            "created_at": timestamp(self.created_at),
            "expires_at": None if self.expires_at is None else timestamp(self.expires_at),
            "downloadable": True,
        }


class Files:
    """``/v1/files``. Unlike the provider's, uploaded files can be downloaded again."""

    def __init__(self) -> None:
        self._shelf: Shelf[StoredFile] = Shelf(max_items=100, max_bytes=64 * 1024 * 1024)
        self._created = 0

    def create(self, content_type: bytes, body: bytes, wall: float) -> Json:
        """Keep the ``file`` part of a form."""
        parts = form(content_type, body)
        if "file" not in parts:
            raise Refusal(400, "file: Field required")
        part = parts["file"]
        lifetime = parts["expires_in_seconds"].data.decode("latin-1") if "expires_in_seconds" in parts else ""
        if lifetime and not lifetime.isdecimal():
            raise Refusal(400, "expires_in_seconds: Input should be a number of seconds")
        self._created += 1
        name = identifier("file", str(self._created).encode())
        expires_at = wall + int(lifetime) if lifetime else None
        stored = StoredFile(name, part.filename or "file", part.content_type, part.data, wall, expires_at)
        self._shelf.put(name, stored, len(part.data))
        return stored.description()

    def list(self, query: Mapping[str, str]) -> Json:
        return page([stored.description() for stored in reversed([*self._shelf])], query)

    def find(self, name: str) -> StoredFile:
        """A file by id.

        :raises Refusal: 404 when there is none, or no longer.
        """
        stored = self._shelf.find(name)
        if stored is None:
            raise Refusal(404, f"File {name} not found")
        return stored

    def delete(self, name: str) -> Json:
        self.find(name)
        self._shelf.take(name)
        return {"id": name, "type": "file_deleted"}
