"""Any bytes where a body should be: a 400, or what h11 reads too, however they arrive; what we write can be read."""

from collections.abc import Iterable
from functools import partial
from typing import Final

from fuzz import fuzz
from fuzz.h1_transcripts import Transcript, agreed, request_read_by_h11, request_read_by_us
from protocol.wire.h1_body import BodyWriter, ChunkedWriter, LengthWriter
from tests.support.splits import split

REFUSALS: Final = {400}

_LINE: Final = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED_HEAD: Final = _LINE + b"transfer-encoding: chunked\r\n\r\n"
LENGTH_HEAD: Final = _LINE + b"content-length: %d\r\n\r\n"


def check(data: bytes) -> None:
    for head in (CHUNKED_HEAD, LENGTH_HEAD % 7):
        agreed(data, partial(_read_by_us, head), partial(_read_by_h11, head), REFUSALS)
    _round_trip(CHUNKED_HEAD, ChunkedWriter(), data)
    _round_trip(LENGTH_HEAD % len(data), LengthWriter(len(data)), data)


def _read_by_us(head: bytes, reads: Iterable[bytes]) -> Transcript:
    return request_read_by_us([head, *reads])


def _read_by_h11(head: bytes, data: bytes) -> Transcript:
    return request_read_by_h11(head + data)


def _round_trip(head: bytes, writer: BodyWriter, payload: bytes) -> None:
    frames = [writer.frame(part) for part in [b"", *split(payload, payload[:4])]]
    written = [head, *frames, writer.end(), b"next"]
    for reads in (written, [b"".join(written)]):
        seen = request_read_by_us(reads)
        assert seen.whole
        assert (seen.payload, seen.rest) == (payload, b"next")
    assert request_read_by_h11(b"".join(written)).payload == payload


if __name__ == "__main__":
    fuzz(check)
