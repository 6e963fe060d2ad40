"""Any bytes from a client: a documented refusal, or what h11 reads too, however they arrive; a head survives a hop."""

from typing import Final

import msgspec

from fuzz import fuzz
from fuzz.h1_transcripts import agreed, request_read_by_h11, request_read_by_us
from protocol.values import RequestHead
from protocol.wire.h1 import encode_request, expects_continue, parse_request_with_h11, request_keeps_alive

REFUSALS: Final = {400, 431, 501, 505}


def check(data: bytes) -> None:
    seen = agreed(data, request_read_by_us, request_read_by_h11, REFUSALS)
    for head in seen.heads:
        assert isinstance(head, RequestHead)
        assert request_keeps_alive(head) in (True, False)
        if not any(name == b"expect" for name, _ in head.headers):
            assert not expects_continue(head)
        if any(name == b"host" for name, _ in head.headers):
            assert parse_request_with_h11(encode_request(head)) == msgspec.structs.replace(head, http_version=b"1.1")


if __name__ == "__main__":
    fuzz(check)
