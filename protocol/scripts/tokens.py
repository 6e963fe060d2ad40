"""``/api/tokens``: the operator hands tokens out, looks at them, and takes them back."""

from collections.abc import Callable, Generator
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from protocol.call import Call
from protocol.effects import Answer, Effect, Outcome, Script, Store, change_store, read_body
from protocol.errors import Refusal
from protocol.files import Update
from protocol.identity.token_desk import TokenDesk
from protocol.identity.token_record import TokenRecord, expiration, issuance, revocation
from protocol.identity.token_usage import TokenUsage
from protocol.identity.tokens import is_token_id, issue
from protocol.values import ResponseHead, Secret
from protocol.wire.headers import is_json

T = TypeVar("T")

MAX_BODY: Final = 64 * 1024


class IssueRequest(msgspec.Struct):
    """What may be asked for; everything has a default."""

    ttl_hours: int | float = 24
    label: Annotated[str, Meta(max_length=1024)] = ""
    account: str | None = None
    max_requests: int | None = None
    requests_per_minute: int | None = None
    token_budget: int | None = None
    models: tuple[str, ...] = ()

    @property
    def limited(self) -> bool:
        return bool(self.models) or any(
            limit is not None for limit in (self.max_requests, self.requests_per_minute, self.token_budget)
        )


class WhichToken(msgspec.Struct):
    """By the id, or the token itself."""

    id: str | None = None
    token: str | None = None


def issue_token(call: Call, desk: TokenDesk, secret: Secret, entropy: Callable[[int], bytes]) -> Script:
    """Issue a token for the JSON object in the body. It is recorded before it is shown, once and for all."""
    asked = yield from read_json(call, IssueRequest, "token request")
    issued = issue(
        secret,
        ttl_hours=asked.ttl_hours,
        label=asked.label,
        account=asked.account,
        limited=asked.limited,
        wall=call.wall,
        entropy=entropy,
    )
    record = issuance(
        issued.claims,
        max_requests=asked.max_requests,
        requests_per_minute=asked.requests_per_minute,
        token_budget=asked.token_budget,
        models=asked.models,
    )
    call.annotations["issued"] = record.id
    yield from write(desk.issued(record, call.wall))
    limits = {name: value for name, value in record.fields().items() if name in LIMITS}
    answer = {
        "token": issued.token.reveal(),
        "ttl_hours": asked.ttl_hours,
        "label": asked.label,
        "account": asked.account,
        "id": record.id,
        "expires_at": record.expires_at,
        **limits,
    }
    yield answered(answer)


LIMITS: Final = ("max_requests", "requests_per_minute", "token_budget", "models")


def list_tokens(call: Call, desk: TokenDesk) -> Script:
    """All records, the oldest first, with what each has used."""
    if desk.paths:
        yield from change_store(Store.TOKENS)
    yield answered({"data": [shown(record, desk.usage.of(record.id)) for record in desk.ledger.records()]})


def show_token(call: Call, desk: TokenDesk, token_id: str) -> Script:
    """One record."""
    if desk.paths:
        yield from change_store(Store.TOKENS)
    record = yield from found(desk, token_id)
    yield answered(shown(record, desk.usage.of(record.id)))


def revoke_token(call: Call, desk: TokenDesk) -> Script:
    """From the answer on the token is refused, here at once and by other routers within a second."""
    record = yield from meant(call, desk, "revocation")
    call.annotations["revoked"] = record.id
    yield from write(desk.ended_early(revocation(record.id, exp=record.ends_at), call.wall))
    yield answered({"revoked": record.id})


def expire_token(call: Call, desk: TokenDesk) -> Script:
    """The token ends now."""
    record = yield from meant(call, desk, "expiration")
    call.annotations["expired"] = record.id
    yield from write(desk.ended_early(expiration(record.id, call.wall, exp=record.ends_at), call.wall))
    yield answered({"expired": record.id})


# --- parts of these stories -------------------------------------------------------------------------------------------


def read_json(call: Call, kind: type[T], what: str) -> Generator[Effect, Outcome, T]:
    """The JSON object in the body.

    A JSON content type is required: a web page cannot send one to another origin without being asked first.

    :raises Refusal: 400 for anything else.
    """
    if not is_json(call.head.headers):
        raise Refusal(400, "send a JSON object with content-type: application/json")
    body = yield from read_body(MAX_BODY)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"not a valid {what}: {error}") from None
    except UnicodeDecodeError:
        raise Refusal(400, f"not a valid {what}: it is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, f"not a valid {what}: it is nested too deeply") from None


def write(change: Update | None) -> Generator[Effect, Outcome, None]:
    """Go on once a change of the files, if there is one, is on the disk.

    :raises Refusal: 503 where that cannot be.
    """
    if change is not None:
        yield from change_store(Store.TOKENS, change)


def meant(call: Call, desk: TokenDesk, what: str) -> Generator[Effect, Outcome, TokenRecord]:
    """The token that the body names, by its id where both are given; it need not be recorded, as after a restart
    without files.

    :raises Refusal: 400 where it names none, 404 for what is no token's id.
    """
    asked = yield from read_json(call, WhichToken, what)
    if asked.id is not None:
        if is_token_id(asked.id):
            return desk.ledger.find(asked.id) or TokenRecord(asked.id)
        record = yield from found(desk, asked.id)
        return record
    if asked.token is None:
        raise Refusal(400, f"not a valid {what}: it names no token by its id", param="id")
    return desk.presented(asked.token, call.wall)


def found(desk: TokenDesk, token_id: str) -> Generator[Effect, Outcome, TokenRecord]:
    """The record of this id, also if another process has just made it.

    :raises Refusal: 404 where there is none.
    """
    record = desk.ledger.find(token_id)
    if record is None and desk.paths:
        yield from change_store(Store.TOKENS)
        record = desk.ledger.find(token_id)
    if record is None:
        raise Refusal(404, "there is no record of a token with this id")
    return record


def shown(record: TokenRecord, used: TokenUsage) -> dict[str, Any]:
    """A record as JSON: its own fields, then what the token has used; ``last_used`` in epoch seconds, 0 for never."""
    return {**record.fields(), "used_requests": used.requests, "usage": msgspec.structs.asdict(used)}


def answered(content: object) -> Answer:
    """JSON that no cache may keep."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Answer(ResponseHead(200, headers), msgspec.json.encode(content))
