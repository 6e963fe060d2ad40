"""Answers with the provider's headers: JSON, streams, files, and errors in Anthropic's shape."""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, TypeAlias

import msgspec

from cli.practice.directives import Directives
from protocol.errors import Refusal
from protocol.values import Headers

ORGANIZATION: Final = b"00000000-0000-4000-8000-707261637463"

DAY: Final = 86_400.0

WINDOWS: Final = {"5h": b"five_hour", "7d": b"seven_day"}
"""Usage windows of a subscription, and what the rate-limit headers call them."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. A body of ``bytes`` has a content length; an iterable is a stream of writes, chunked.

    ``wanted`` tells whoever sends it which mishaps to play out on the way, ``ended`` is called when it is over.
    """

    status: int
    headers: Headers
    body: bytes | Iterable[bytes]
    wanted: Directives
    ended: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What every answer to one request shares. ``wall`` is epoch seconds; ``oauth`` tells a session from an API key."""

    request_id: str
    wall: float
    oauth: bool = True
    accepts_gzip: bool = False

    def json(self, value: Json, wanted: Directives) -> Answer:
        return self.whole(msgspec.json.encode(value), b"application/json", wanted)

    def whole(self, body: bytes, content_type: bytes, wanted: Directives) -> Answer:
        """A body sent with its length, compressed if that is wanted and accepted."""
        return self._sized(200, self._headers(content_type) + self._allowance(), body, wanted)

    def stream(self, writes: Iterable[bytes], content_type: bytes, wanted: Directives) -> Answer:
        headers = [*self._headers(content_type), (b"cache-control", b"no-cache"), *self._allowance()]
        return Answer(200, headers, writes, wanted)

    def error(self, refusal: Refusal, wanted: Directives) -> Answer:
        """An error in Anthropic's shape; of the rate-limit headers it has only those that it brings itself."""
        body = msgspec.json.encode(error_body(refusal, self.request_id))
        return self._sized(refusal.status, self._headers(b"application/json") + refusal.headers, body, wanted)

    def oauth_error(self, status: int, code: str, description: str, wanted: Directives) -> Answer:
        """An error of the token endpoint (RFC 6749 section 5.2)."""
        body = msgspec.json.encode({"error": code, "error_description": description})
        headers = self._headers(b"application/json")
        if wanted.retry_after is not None:
            headers.append((b"retry-after", str(wanted.retry_after).encode()))
        return self._sized(status, headers, body, wanted)

    def _sized(self, status: int, headers: Headers, body: bytes, wanted: Directives) -> Answer:
        if wanted.gzip and self.accepts_gzip:
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers = [*headers, (b"content-encoding", b"gzip")]
        return Answer(status, headers, body, wanted)

    def _headers(self, content_type: bytes) -> Headers:
        return [
            (b"date", formatdate(self.wall, usegmt=True).encode()),
            (b"content-type", content_type),
            (b"request-id", self.request_id.encode()),
            (b"anthropic-organization-id", ORGANIZATION),
            (b"vary", b"Accept-Encoding"),
            (b"vary", b"Origin"),
        ]

    def _allowance(self) -> Headers:
        """The rate-limit headers of a request that was let through."""
        if self.oauth:
            return _windows(self.wall, spent=None, reset=5 * 3600.0)
        reset = timestamp(self.wall + 60).encode()
        return [
            (b"anthropic-ratelimit-%b-%b" % (kind, name), value)
            for kind, limit, left in (
                (b"requests", b"4000", b"3999"),
                (b"tokens", b"480000", b"479000"),
                (b"input-tokens", b"400000", b"399000"),
                (b"output-tokens", b"80000", b"80000"),
            )
            for name, value in ((b"limit", limit), (b"remaining", left), (b"reset", reset))
        ]


def ordered_error(wanted: Directives, wall: float) -> Refusal:
    """The error that the directives ask for; an overload if they name no status."""
    headers: Headers = []
    if wanted.retry_after is not None:
        headers.append((b"retry-after", str(wanted.retry_after).encode()))
    if wanted.window is not None:
        headers += _windows(wall, spent=wanted.window, reset=float(wanted.reset))
    message = wanted.message or "The practice upstream was told to answer with this error."
    return Refusal(wanted.error or 529, message, wanted.kind, code=wanted.code, headers=headers)


def error_body(refusal: Refusal, request_id: str | None) -> Json:
    """``{"type":"error",...}`` with ``details.error_code`` where the refusal has a code."""
    error: Json = {"type": refusal.kind, "message": refusal.message}
    if refusal.code is not None:
        error["details"] = {"error_code": refusal.code}
    return {"type": "error", "error": error, "request_id": request_id}


def timestamp(wall: float) -> str:
    """Epoch seconds as RFC 3339 text in UTC, to the second."""
    return datetime.fromtimestamp(int(wall), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _windows(wall: float, *, spent: str | None, reset: float) -> Headers:
    """A subscription's usage windows. ``reset`` is in seconds and meant for the spent one, else for the 5-hour one."""
    claimed = spent or "5h"
    overall = b"rejected" if spent else b"allowed"
    headers = [
        (b"anthropic-ratelimit-unified-status", overall),
        (b"anthropic-ratelimit-unified-representative-claim", WINDOWS[claimed]),
        (b"anthropic-ratelimit-unified-reset", b"%d" % (wall + reset)),
    ]
    for window, length in (("5h", 5 * 3600.0), ("7d", 7 * DAY)):
        prefix = b"anthropic-ratelimit-unified-" + window.encode()
        headers += [
            (prefix + b"-status", b"rejected" if window == spent else b"allowed"),
            (prefix + b"-reset", b"%d" % (wall + (reset if window == claimed else length))),
            (prefix + b"-utilization", b"1.0" if window == spent else b"0.25"),
        ]
    return headers
