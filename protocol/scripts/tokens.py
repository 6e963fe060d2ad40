"""``POST /api/tokens``: the operator hands out a token."""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from protocol.call import Call
from protocol.effects import Answer, Script, read_body
from protocol.errors import Refusal
from protocol.identity.tokens import issue
from protocol.values import ResponseHead, Secret
from protocol.wire.headers import is_json

MAX_ISSUE_BODY: Final = 64 * 1024


class IssueRequest(msgspec.Struct):
    """What may be asked for; everything has a default."""

    ttl_hours: int | float = 24
    label: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    account: str | None = None


class IssueResponse(msgspec.Struct):
    """The token, shown once, and what it was issued for."""

    token: str
    ttl_hours: int | float
    label: str
    account: str | None


def issue_token(call: Call, secret: Secret, entropy: Callable[[int], bytes]) -> Script:
    """Issue a token for the JSON object in the body.

    A JSON content type is required: a web page cannot send one to another origin without being asked first.
    """
    if not is_json(call.head.headers):
        raise Refusal(400, "send a JSON object with content-type: application/json")
    body = yield from read_body(MAX_ISSUE_BODY)
    try:
        asked = msgspec.json.decode(body, type=IssueRequest)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"not a valid token request: {error}") from None
    issued = issue(
        secret, ttl_hours=asked.ttl_hours, label=asked.label, account=asked.account, wall=call.wall, entropy=entropy
    )
    call.annotations["issued"] = issued.claims.sub
    response = IssueResponse(issued.token.reveal(), asked.ttl_hours, asked.label, asked.account)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    yield Answer(ResponseHead(200, headers), msgspec.json.encode(response))
