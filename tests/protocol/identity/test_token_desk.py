"""Who may come in, what a request takes out of a token's limits, and what it gives back."""

from typing import Any
from uuid import UUID

import pytest

from protocol.call import Call
from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import Contents, CorruptFile, Missing
from protocol.identity.ledger import Unrecorded
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
    bearer.reserve(call, 50.0, BODY)
    assert desk.limits.in_flight(record.id) == 1
    call.went_upstream = True
    desk.ended(call, Tokens(input=7, output=5), 60.0)
    used = desk.usage.of(record.id)
    assert (used.requests, used.input_tokens, used.output_tokens, used.last_used) == (1, 7, 5, int(WALL) + 10)
    assert desk.limits.in_flight(record.id) == 0


def test_what_was_never_sent_on_is_not_counted(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, max_requests=1)
    bearer.reserve(call, 50.0, BODY)
    desk.ended(call, None, 60.0)
    assert desk.usage.of(record.id).requests == 0
    bearer.reserve(call, 50.0, BODY)


def test_what_nobody_knows_the_cost_of_has_cost_all_it_had_reserved(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, token_budget=1000)
    bearer.reserve(call, 50.0, BODY)
    call.went_upstream = True
    desk.ended(call, None, 60.0)
    assert desk.usage.of(record.id).tokens == len(BODY) // 4 + 50


def test_counting_the_tokens_of_a_message_costs_none(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk, token_budget=1)
    bearer.reserve(call, 50.0, BODY, inference=False)
    call.went_upstream = True
    desk.ended(call, None, 60.0)
    assert (desk.usage.of(record.id).requests, desk.usage.of(record.id).tokens) == (1, 0)


def test_a_call_ends_once(desk: TokenDesk) -> None:
    record, call, bearer = limited(desk)
    bearer.reserve(call, 50.0)
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
    _, call, bearer = limited(desk, models=["claude-haiku-*"])
    bearer.reserve(call, 50.0, BODY)
    bearer.reserve(call, 50.0, b"{}", model="claude-haiku-4-5")
    for body in (b'{"model":"claude-opus-5"}', b"{}", b"", b"\x1f\x8b", b'{"model":7}'):
        with pytest.raises(Refusal) as caught:
            bearer.reserve(call, 50.0, body)
        assert (caught.value.status, caught.value.kind) == (403, "permission_error")


@pytest.mark.parametrize(("limits", "one", "many"), [({}, True, True),
                                                     ({"max_requests": 1}, True, False),
                                                     ({"requests_per_minute": 1}, True, False),
                                                     ({"token_budget": 1}, False, False),
                                                     ({"models": ["x"]}, False, False)])  # fmt: skip
def test_what_nobody_could_watch_needs_a_token_that_need_not_be_watched(
    limits: dict[str, Any], one: bool, many: bool, desk: TokenDesk
) -> None:
    _, _, bearer = limited(desk, **limits)
    for allowed, requests in ((one, False), (many, True)):
        if allowed:
            bearer.require_unlimited("batches", many=requests)
        else:
            with pytest.raises(Refusal, match="may not be used for batches"):
                bearer.require_unlimited("batches", many=requests)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (revocation(str(UUID(int=0, version=4))), (403, "Token has been revoked")),
        (expiration(str(UUID(int=0, version=4)), WALL + 5), (401, "Token has expired")),
    ],
)
def test_a_token_that_is_ended_while_its_request_arrives_is_refused(
    change: TokenRecord, refusal: tuple[int, str], desk: TokenDesk
) -> None:
    record, call, bearer = limited(desk)
    assert change.id == record.id
    desk.ended_early(change, WALL + 5)
    with pytest.raises(Refusal) as caught:
        bearer.reserve(call, 60.0, BODY)
    assert (caught.value.status, caught.value.message) == refusal
    assert call.share is None


def test_a_token_that_ends_while_its_request_arrives_is_refused(desk: TokenDesk) -> None:
    call = call_with(new_token().token)
    bearer = desk.admit(call)
    bearer.reserve(call, 50.0 + 3599)
    with pytest.raises(Refusal, match="Token has expired"):
        bearer.reserve(call, 50.0 + 3600)


def test_a_limit_that_becomes_known_while_a_request_arrives_holds_for_it(desk: TokenDesk) -> None:
    issued = new_token()
    call = call_with(issued.token)
    bearer = desk.admit(call)
    desk.ledger.apply(issuance(issued.claims, models=["claude-opus-*"]))
    with pytest.raises(Refusal, match="may not be used for the model"):
        bearer.reserve(call, 60.0, BODY)


def test_requests_count_from_when_they_are_whole_and_not_from_when_they_began(desk: TokenDesk) -> None:
    _, call, bearer = limited(desk, requests_per_minute=1)
    bearer.reserve(call, 120.0)
    call.went_upstream = True
    desk.ended(call, None, 121.0)
    with pytest.raises(Refusal, match="requests per minute"):
        bearer.reserve(call, 121.0)
    bearer.reserve(call, 180.0)


@pytest.mark.parametrize("most", [b'"many"', b"[9]", b"true", b"1.5", b'"nan"', b'""'])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_with_a_budget_the_most_output_has_to_be_a_number(name: str, most: bytes, desk: TokenDesk) -> None:
    body = b'{"%b":%b,"model":"x"}' % (name.encode(), most)
    _, call, bearer = limited(desk, token_budget=1000)
    with pytest.raises(Refusal) as caught:
        bearer.reserve(call, 50.0, body)
    assert (caught.value.status, caught.value.param) == (400, "max_tokens")
    bearer.reserve(call, 50.0, body, inference=False)
    _, call, bearer = limited(desk_of(), models=["x"])
    bearer.reserve(call, 50.0, body)


@pytest.mark.parametrize("most", [b"100000", b"100000.0", b"1e5", b'"100000"', b"99999999999999999999"])
def test_the_most_output_counts_however_it_is_written(most: bytes, desk: TokenDesk) -> None:
    _, call, bearer = limited(desk, token_budget=1000)
    with pytest.raises(Refusal, match="lower max_tokens"):
        bearer.reserve(call, 50.0, b'{"max_tokens":%b}' % most)


def test_a_token_with_limits_is_no_good_while_they_are_unknown() -> None:
    issued = issue(SECRET, limited=True, wall=WALL, entropy=lambda size: bytes(size))
    call = call_with(issued.token)
    for policy, retry in (("memory", []), ("both", [(b"retry-after", b"1")])):
        desk = desk_of(STORAGE_POLICY=policy)
        with pytest.raises(Unrecorded) as caught:
            desk.admit(call)
        assert (caught.value.status, caught.value.headers[1:]) == (401, retry)
        desk.ledger.apply(issuance(issued.claims, max_requests=1))
        assert desk.admit(call).record.max_requests == 1


@pytest.mark.parametrize(
    ("body", "ask"),
    [
        (BODY, Ask("claude-haiku-4-5", 50)),
        (b'{"mod\\u0065l":"x"}', Ask("x", 0)),
        (b'{"model":null,"max_tokens":null}', Ask(None, 0)),
        (b'{"max_completion_tokens":7,"max_output_tokens":8}', Ask(None, 8)),
        (b'{"model":"x","max_tokens":"9"}', Ask("x", 9)),
        (b'{"model":7,"max_tokens":9.0}', Ask(None, 9)),
        (b'{"model":"x","max_tokens":[],"max_output_tokens":8}', Ask("x", None)),
        (b'{"model":"x","max_tokens":1e999}', Ask()),
        (b"[]", Ask()),
        (b"[" * 5000, Ask()),
        (b"\xff", Ask()),
        (b"", Ask()),
    ],
)
def test_what_a_request_asks_for_is_read_or_nothing_is(body: bytes, ask: Ask) -> None:
    assert read_ask(body) == ask


@pytest.mark.parametrize("tools", [b"null", b"7", b'[{"model":7}]', b"[[]]", b"[]"])
def test_tools_that_make_no_sense_ask_no_model(tools: bytes) -> None:
    asked = read_ask(b'{"model":"m","max_tokens":5,"tools":%b}' % tools)
    assert (asked.model, asked.most, asked.others) == ("m", 5, ())


def test_a_tool_that_asks_a_model_asks_it_for_the_token() -> None:
    tools = b'[{"name":"a"},{"type":"advisor_20260301","model":"claude-opus-5-5"}]'
    assert read_ask(b'{"model":"m","tools":%b}' % tools).others == ("claude-opus-5-5",)
