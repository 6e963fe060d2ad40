"""Answers the router gives by itself."""

from protocol.effects import Answer, Script
from protocol.errors import Refusal
from protocol.values import ResponseHead


def health(draining: bool) -> Script:
    """``ok``, or ``draining`` with 503 once a shutdown has begun, for load balancers."""
    status, word = (503, b"draining") if draining else (200, b"ok")
    yield Answer(ResponseHead(status, [(b"content-type", b"text/plain; charset=utf-8")]), word)


def hello() -> Script:
    """Claude Code's probe, sent without a credential before its first request: yes, something is here."""
    yield Answer(ResponseHead(200, [(b"content-type", b"text/plain; charset=utf-8")]), b"")


def refuse(refusal: Refusal) -> Script:
    """A request that ends before it begins."""
    yield from ()
    raise refusal
