"""Where a request's time goes in the core: the heads, which are most of it, one step at a time."""

from typing import Final

from benchmarks import traffic
from benchmarks.chunk import microseconds
from benchmarks.core import EPOCH
from benchmarks.report import Result, Table
from protocol.identity.tokens import TokenVerifier
from protocol.routing import Router
from protocol.values import RequestHead, ResponseHead, Secret
from protocol.wire.h1 import encode_request, encode_response, parse_request_with_h11, parse_response_with_h11
from protocol.wire.headers import request_headers, response_headers

TIMES: Final = 200


def measure(*, quick: bool) -> Result:
    rounds = 5 if quick else 50
    token = traffic.token()
    request = _head_of(traffic.whole_request(token, traffic.SMALL_BODY))
    response = _head_of(traffic.WHOLE_RESPONSE)
    parsed_request = parse_request_with_h11(request)
    parsed_response = parse_response_with_h11(response)
    to_upstream = RequestHead(b"POST", parsed_request.target, request_headers(parsed_request.headers))
    to_client = ResponseHead(200, response_headers(parsed_response.headers))
    verifier = TokenVerifier(Secret(traffic.TOKEN_SECRET))
    router = Router()

    def verify_anew() -> None:
        TokenVerifier(Secret(traffic.TOKEN_SECRET)).verify(token, EPOCH)

    steps = {
        f"parse the request head, {len(request)} bytes (h11)": lambda: parse_request_with_h11(request),
        f"parse the response head, {len(response)} bytes (h11)": lambda: parse_response_with_h11(response),
        "find the route": lambda: router.match(b"POST", parsed_request.target),
        "verify a token seen before": lambda: verifier.verify(token, EPOCH),
        "verify a token seen for the first time": verify_anew,
        "choose the request's fields for the upstream": lambda: request_headers(parsed_request.headers),
        "choose the response's fields for the client": lambda: response_headers(parsed_response.headers),
        "write the request head": lambda: encode_request(to_upstream),
        "write the response head": lambda: encode_response(to_client),
    }
    rows = tuple((name, microseconds(step, TIMES, rounds=rounds)) for name, step in steps.items())
    return Result((Table("Steps of a request in the core", ("step", "us"), rows),))


def _head_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
