"""Who may come in, what a request takes out of a token's limits, and what it gives back."""

from typing import Any

import pytest

from protocol.call import Call
from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import Contents, CorruptFile, Missing
from protocol.identity.token_desk import Ask, Bearer, TokenDesk, read_ask
from protocol.identity.token_record import TokenRecord, expiration, issuance, revocation
from protocol.identity.tokens import IssuedToken, issue
from protocol.values import Peer, PeerKind, RequestHead, Secret, Tokens

WALL = 1_700_000_000.0
SECRET = Secret("a secret of more than thirty-two bytes")
BODY = b'{"model":"claude-haiku-4-5","max_tokens":50}'


def desk_of(**settings: str) -> TokenDesk:
    return TokenDesk(SECRET, Config.parse({"DATA_DIR": "/data", **settings}, home="/home"))


@pytest.fixture
def desk() -> TokenDesk:
    return desk_of()


def new_token(account: str | None = None) -> IssuedToken:
    return issue(SECRET, ttl_hours=1, label="ann", account=account, wall=WALL, entropy=lambda size: bytes(size))


def call_with(token: Secret, wall: float = WALL) -> Call:
    head = RequestHead(b"POST", b"/v1/messages", [(b"x-api-key", token.reveal().encode())])
    return Call(head, Peer(PeerKind.LOOPBACK, "test"), "req_1", 50.0, wall)


def limited(desk: TokenDesk, **limits: Any) -> tuple[TokenRecord, Call, Bearer]:
    """A token with limits, and a request of its holder."""
    issued = new_token()
    record = issuance(issued.claims, **limits)
    desk.ledger.apply(record)
    call = call_with(issued.token)
    return record, call, desk.admit(call)


def refused(desk: TokenDesk, call: Call) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        desk.admit(call)
    return caught.value.status, caught.value.message


# --- who --------------------------------------------------------------------------------------------------------------


def test_a_token_names_its_holder_and_the_account_it_is_bound_to(desk: TokenDesk) -> None:
    issued = new_token(account="account-1")
    call = call_with(issued.token)
    bearer = desk.admit(call)
    assert (call.token_id, call.pin, bearer.record.label) == (issued.claims.sub, "account-1", "ann")


@pytest.mark.parametrize("kept", [True, False])
def test_a_token_that_was_ended_is_refused_by_its_record(kept: bool) -> None:
    desk, issued = desk_of(STORAGE_POLICY="both" if kept else "memory"), new_token()
    later = call_with(issued.token, WALL + 1)
    desk.ended_early(expiration(issued.claims.sub, WALL), WALL)
    assert refused(desk, later) == (401, "Token has expired")
    desk.ended_early(revocation(issued.claims.sub), WALL)
    assert refused(desk, later) == (403, "Token has been revoked")
    assert later.token_id == issued.claims.sub


def test_a_new_token_is_recorded_where_there_are_files_and_at_once_where_there_are_none() -> None:
    record = issuance(new_token().claims, max_requests=3)
    in_memory, on_disk = desk_of(STORAGE_POLICY="memory"), desk_of(STORAGE_POLICY="text")
    assert in_memory.issued(record, WALL) is None
    assert in_memory.ledger.find(record.id) == record
    change = on_disk.issued(record, WALL)
    assert change is not None
    assert on_disk.ledger.find(record.id) is None
    on_disk.loaded(list(change([(path, Missing()) for path in on_disk.paths]).items()), WALL)
    assert on_disk.ledger.find(record.id) == record


def test_a_token_that_could_not_be_recorded_is_not_recorded_later(desk: TokenDesk) -> None:
    assert desk.issued(issuance(new_token().claims), WALL) is not None
    assert desk.news(WALL) is None


def test_a_revocation_holds_before_it_is_written(desk: TokenDesk) -> None:
    issued = new_token()
    assert desk.ended_early(revocation(issued.claims.sub), WALL) is not None
    assert refused(desk, call_with(issued.token))[0] == 403
    assert desk.news(WALL) is not None


def test_in_memory_too_records_go_long_after_their_tokens_have_ended() -> None:
    desk = desk_of(STORAGE_POLICY="memory", TOKEN_KEEP_DAYS="1")
    record = issuance(new_token().claims)
    desk.issued(record, WALL)
    desk.ended_early(revocation("another"), WALL + 86_400)
    assert desk.ledger.find(record.id) is not None
    desk.ended_early(revocation("another"), WALL + 2 * 86_400)
    assert desk.ledger.find(record.id) is None


def test_a_file_that_makes_no_sense_leaves_the_book_as_it_is(desk: TokenDesk) -> None:
    desk.ended_early(revocation("a"), WALL)
    files: Contents = [(path, b"(what?") for path in desk.paths]
    with pytest.raises(CorruptFile):
        desk.loaded(files, WALL)
    assert desk.ledger.find("a") == TokenRecord("a", revoked=True)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_what_was_sent_on_is_counted_with_what_it_cost(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, token_budget=1000)
    bearer.reserve(call, BODY)
    assert desk.limits.in_flight(record.id) == 1
    call.went_upstream = True
    desk.ended(call, Tokens(input=7, output=5), 60.0)
    used = desk.usage.of(record.id)
    assert (used.requests, used.input_tokens, used.output_tokens, used.last_used) == (1, 7, 5, int(WALL) + 10)
    assert desk.limits.in_flight(record.id) == 0


def test_what_was_never_sent_on_is_not_counted(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, max_requests=1)
    bearer.reserve(call, BODY)
    desk.ended(call, None, 60.0)
    assert desk.usage.of(record.id).requests == 0
    bearer.reserve(call, BODY)


def test_what_nobody_knows_the_cost_of_has_cost_all_it_had_reserved(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, token_budget=1000)
    bearer.reserve(call, BODY)
    call.went_upstream = True
    desk.ended(call, None, 60.0)
    assert desk.usage.of(record.id).tokens == len(BODY) // 4 + 50


def test_counting_the_tokens_of_a_message_costs_none(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, token_budget=1)
    bearer.reserve(call, BODY, inference=False)
    call.went_upstream = True
    desk.ended(call, None, 60.0)
    assert (desk.usage.of(record.id).requests, desk.usage.of(record.id).tokens) == (1, 0)


def test_a_call_ends_once(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk)
    bearer.reserve(call)
    call.went_upstream = True
    for _ in range(2):
        desk.ended(call, None, 60.0)
    assert desk.usage.of(record.id).requests == 1


def test_a_call_without_a_share_ends_too(desk: TokenDesk) -> None:
    desk.ended(call_with(new_token().token), None, 60.0)
    assert desk.usage.counts == {}


@pytest.mark.parametrize(
    ("limits", "shown"),
    [({}, False), ({"max_requests": 1, "requests_per_minute": 1}, False), ({"token_budget": 1}, True)],
)
def test_a_body_is_looked_at_only_where_a_limit_depends_on_it(
    limits: dict[str, int], shown: bool, desk: TokenDesk
) -> None:
    assert limited(desk, **limits)[2].must_show_body == shown


def test_a_token_for_certain_models_has_to_show_which_one_it_asks(desk: TokenDesk) -> None:
    bearer = Bearer(TokenRecord("a", models=("claude-haiku-*",)), desk.limits)
    call = call_with(new_token().token)
    bearer.reserve(call, BODY)
    bearer.reserve(call, b"{}", model="claude-haiku-4-5")
    for body in (b'{"model":"claude-opus-5"}', b"{}", b"", b"\x1f\x8b", b'{"model":7}'):
        with pytest.raises(Refusal) as caught:
            bearer.reserve(call, body)
        assert (caught.value.status, caught.value.kind) == (403, "permission_error")


@pytest.mark.parametrize(("record", "free"), [(TokenRecord("a", max_requests=1), True),
                                              (TokenRecord("a", token_budget=1), False),
                                              (TokenRecord("a", models=("x",)), False)])  # fmt: skip
def test_what_nobody_could_watch_needs_a_token_that_need_not_be_watched(
    record: TokenRecord, free: bool, desk: TokenDesk
) -> None:
    bearer = Bearer(record, desk.limits)
    if free:
        bearer.require_unlimited("batches")
    else:
        with pytest.raises(Refusal, match="may not be used for batches"):
            bearer.require_unlimited("batches")


@pytest.mark.parametrize(
    ("body", "ask"),
    [
        (BODY, Ask("claude-haiku-4-5", 50)),
        (b'{"mod\\u0065l":"x"}', Ask("x")),
        (b'{"model":null}', Ask()),
        (b'{"max_completion_tokens":7,"max_output_tokens":8}', Ask(None, None, 7, 8)),
        (b'{"model":"x","max_tokens":"9"}', Ask()),
        (b"[" * 5000, Ask()),
        (b"\xff", Ask()),
        (b"", Ask()),
    ],
)
def test_what_a_request_asks_for_is_read_or_nothing_is(body: bytes, ask: Ask) -> None:
    assert read_ask(body) == ask
