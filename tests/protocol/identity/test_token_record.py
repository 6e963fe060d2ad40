import pytest

from protocol.errors import Refusal
from protocol.identity.token_record import (
    LEAST_KEPT_SECONDS,
    MAX_ID_LENGTH,
    MAX_MODELS,
    MAX_PATTERN_LENGTH,
    MOST,
    TokenRecord,
    expiration,
    issuance,
    merge,
    merge_all,
    normal,
    revocation,
    worthless,
)
from protocol.identity.tokens import Claims

DAY = 86400.0
ISSUED = TokenRecord("id", "alice", 1000, 2000, account="work")


def test_an_issued_token_says_what_its_claims_say() -> None:
    assert issuance(Claims("id", 1000, 2000, "alice", "work")) == ISSUED
    limited = issuance(
        Claims("id", 1000, 2000), max_requests=5, requests_per_minute=6, token_budget=7, models=["a*", "b"]
    )
    assert limited.fields() == {
        "id": "id", "label": "", "issued_at": 1000, "expires_at": 2000, "revoked": False, "account": None,
        "max_requests": 5, "requests_per_minute": 6, "token_budget": 7, "models": ["a*", "b"],
    }  # fmt: skip


def test_an_unlimited_token_has_the_fields_of_the_original_and_no_others() -> None:
    assert list(ISSUED.fields()) == ["id", "label", "issued_at", "expires_at", "revoked", "account"]


@pytest.mark.parametrize("name", ["max_requests", "requests_per_minute", "token_budget"])
@pytest.mark.parametrize("limit", [0, -1, MOST + 1])
def test_a_limit_that_is_none_is_refused(name: str, limit: int) -> None:
    with pytest.raises(Refusal) as refused:
        issuance(Claims("id", 1, 2), **{name: limit})  # type: ignore[arg-type]  # one of three, all alike
    assert (refused.value.status, refused.value.param) == (400, name)


@pytest.mark.parametrize("models", [[""], ["x" * (MAX_PATTERN_LENGTH + 1)], ["x"] * (MAX_MODELS + 1), ["\ud800"]])
def test_models_that_cannot_be_kept_are_refused(models: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        issuance(Claims("id", 1, 2), models=models)
    assert (refused.value.status, refused.value.param) == (400, "models")


@pytest.mark.parametrize("token_id", ["", "x" * (MAX_ID_LENGTH + 1), "\udc80"])
def test_what_cannot_be_an_id_is_refused(token_id: str) -> None:
    with pytest.raises(Refusal) as revoking:
        revocation(token_id)
    with pytest.raises(Refusal) as ending:
        expiration(token_id, 1.0)
    assert (revoking.value.status, revoking.value.param) == (ending.value.status, ending.value.param) == (400, "id")


def test_a_revocation_changes_nothing_else() -> None:
    revoked = merge(ISSUED, revocation("id"))
    assert revoked.fields() == {**ISSUED.fields(), "revoked": True}
    assert merge(revoked, ISSUED) == revoked


def test_an_early_end_counts_from_then_on_and_remembers_the_end_of_the_signature() -> None:
    ended = merge(ISSUED, expiration("id", 1500.9))
    assert ended.fields() == {**ISSUED.fields(), "expires_at": 1500, "signed_until": 2000}
    assert merge(ended, expiration("id", 1600.0)) == ended
    assert merge(ended, expiration("id", 1400.0)).expires_at == 1400
    assert merge(ISSUED, ended) == ended


def test_the_end_of_a_token_that_has_ended_stays() -> None:
    assert merge(ISSUED, expiration("id", 2500.0)).fields() == ISSUED.fields()


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ({"label": "é"}, {"label": "Ã©"}, {"label": "é"}),
        ({"account": "é"}, {"account": "Ã©"}, {"account": "é"}),
        ({"label": ""}, {"label": "b"}, {"label": "b"}),
        ({"label": "a"}, {"label": "b"}, {"label": "a"}),
        ({"issued_at": 0}, {"issued_at": 7}, {"issued_at": 7}),
        ({"expires_at": 0}, {"expires_at": 7}, {"expires_at": 7}),
        ({"expires_at": 5, "signed_until": 0}, {"expires_at": 0}, {"expires_at": 5, "signed_until": 0}),
        ({"expires_at": 5, "signed_until": 0}, {"expires_at": 5}, {"expires_at": 5}),
        ({"expires_at": 5, "signed_until": 9}, {"expires_at": 7}, {"expires_at": 5, "signed_until": 9}),
        ({"max_requests": 5}, {}, {"max_requests": 5}),
        ({"max_requests": 5}, {"max_requests": 0}, {"max_requests": 0}),
        ({"requests_per_minute": 5}, {"requests_per_minute": 9}, {"requests_per_minute": 5}),
        ({"token_budget": 5}, {"token_budget": 9}, {"token_budget": 5}),
        ({"models": ("a", "b")}, {"models": ("c",)}, {"models": ("c",)}),
        ({"models": ("a", "b")}, {}, {"models": ("a", "b")}),
        ({"unknown_json": (("x", "1"),)}, {"unknown_json": (("x", "22"), ("y", "3"))},
         {"unknown_json": (("x", "1"), ("y", "3"))}),
        ({"unknown_links": (("x", "(x 1)"),)}, {}, {"unknown_links": (("x", "(x 1)"),)}),
    ],
)  # fmt: skip
def test_each_field_has_its_rule(one: dict[str, object], other: dict[str, object], merged: dict[str, object]) -> None:
    first, second = (TokenRecord("id", **fields) for fields in (one, other))  # type: ignore[arg-type]  # by field
    assert merge(first, second) == merge(second, first) == TokenRecord("id", **merged)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "form"),
    [
        (TokenRecord("id", account=""), TokenRecord("id")),
        (TokenRecord("id", signed_until=0), TokenRecord("id")),
        (TokenRecord("id", expires_at=7, signed_until=7), TokenRecord("id", expires_at=7)),
        (TokenRecord("id", expires_at=7, signed_until=5), TokenRecord("id", expires_at=7, signed_until=5)),
        (expiration("id", 7.0), TokenRecord("id", expires_at=7, signed_until=0)),
        (revocation("id", exp=7), TokenRecord("id", expires_at=7, revoked=True)),
    ],
)
def test_what_says_the_same_has_one_form(record: TokenRecord, form: TokenRecord) -> None:
    assert normal(record) == form


def test_a_book_has_one_record_for_each_id() -> None:
    book = merge_all([ISSUED, revocation("other"), revocation("id"), ISSUED])
    assert book == {"id": merge(ISSUED, revocation("id")), "other": revocation("other")}


def test_a_record_goes_when_it_has_been_kept_long_enough() -> None:
    assert not worthless(ISSUED, 2000 + DAY - 1, DAY)
    assert worthless(ISSUED, 2000 + DAY, DAY)


def test_a_record_is_kept_for_an_hour_at_least() -> None:
    assert not worthless(ISSUED, 2000 + LEAST_KEPT_SECONDS - 1, 0.0)
    assert worthless(ISSUED, 2000 + LEAST_KEPT_SECONDS, 0.0)


@pytest.mark.parametrize(
    "record",
    [
        merge(ISSUED, expiration("id", 1500.0)),
        merge(expiration("id", 1500.0), ISSUED),
        merge(ISSUED, revocation("id")),
        revocation("id"),
        revocation("id", exp=3000),
        expiration("id", 1500.0),
        expiration("id", 1500.0, exp=3000),
    ],
)
def test_what_ended_a_token_early_stays_whatever_a_clock_says(record: TokenRecord) -> None:
    assert not worthless(record, 1e12, DAY)
