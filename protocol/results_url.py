"""The one edit of a relayed body: a message batch's ``results_url`` is made to lead back through the router.

SDKs fetch that absolute URL with the client's own credential, which only the router understands.
"""

import re
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.relays import Relay

MAX_BATCH_BODY: Final = 32 * 1024 * 1024
"""Bytes; a full page of 1,000 batch objects is well under one MiB."""

# The quotes make this unmistakable: inside a JSON string they would stand behind backslashes.
_FIELD: Final = re.compile(rb'("results_url"\s*:\s*)("(?:[^"\\]|\\.)*")')
_RESULTS: Final = re.compile(r"https?://[^/?#]+(?:/[^?#]*?)?(/v1/messages/batches/[^/?#]+/results)")


def rewrite_results_urls(body: bytes, base: str) -> bytes:
    """Point every ``results_url`` of a batch object, or of a page of them, at ``base``; all other bytes stay.

    :param base: the URL under which the client reaches the Anthropic paths, without a trailing slash.
    """

    def local(field: re.Match[bytes]) -> bytes:
        try:
            url: object = msgspec.json.decode(field[2])
        except msgspec.DecodeError:
            return field[0]
        results = _RESULTS.fullmatch(url) if isinstance(url, str) else None
        return field[0] if results is None else field[1] + msgspec.json.encode(base + results[1])

    return _FIELD.sub(local, body)


@final
class ResultsUrlRelay(Relay):
    """Gathers a small JSON body, rewrites its ``results_url`` fields, sends it in one piece."""

    __slots__ = ("_base", "_gathered")

    failed = False

    def __init__(self, base: str) -> None:
        self._base = base
        self._gathered = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._gathered += data
        if len(self._gathered) > MAX_BATCH_BODY:
            raise Refusal(502, f"the upstream's batch listing exceeds {MAX_BATCH_BODY} bytes")
        return b""

    def finish(self) -> bytes:
        return rewrite_results_urls(bytes(self._gathered), self._base)

    def abort(self, error: Refusal) -> bytes | None:
        return None
