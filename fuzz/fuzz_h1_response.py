"""Any bytes from an upstream: a 502, or what h11 reads too, however they arrive; a head survives a hop."""

from functools import partial
from typing import Final

from fuzz import fuzz
from fuzz.h1_transcripts import agreed, response_read_by_h11, response_read_by_us
from protocol.values import ResponseHead
from protocol.wire.h1 import encode_response, parse_response_with_h11

REFUSALS: Final = {502}


def check(data: bytes) -> None:
    for method in (b"POST", b"HEAD"):
        read_by_us = partial(response_read_by_us, request_method=method)
        read_by_h11 = partial(response_read_by_h11, request_method=method)
        for head in agreed(data, read_by_us, read_by_h11, REFUSALS).heads:
            assert isinstance(head, ResponseHead)
            relayed = parse_response_with_h11(encode_response(head))
            assert (relayed.status, relayed.headers) == (head.status, head.headers)
            assert relayed.reason == (head.reason or relayed.reason)


if __name__ == "__main__":
    fuzz(check)
