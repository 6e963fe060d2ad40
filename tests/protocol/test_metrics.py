"""Every request is counted once, and both pages tell the same."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from protocol.exposition import Format
from protocol.identity.pool import AccountPool
from protocol.identity.standing import AccountSnapshot
from protocol.metrics import ABOUT, BUCKETS, CHAT, ISSUE, METERED, RESPONSES, REVOKE, Ended, Metrics
from protocol.routing import ROUTES, Action, Route, Surface
from protocol.values import Tokens

MESSAGES = "/v1/messages"
STARTED_AT = 1_795_000_000.0
REVOKING = Route(("POST",), REVOKE, Surface.ADMIN, Action.ISSUE_TOKEN, "Revoke a token")

ORIGINAL_USAGE_KEYS = (
    "requests_total", "errors_total", "bytes_in", "bytes_out", "openai_chat_completions", "openai_responses",
    "anthropic_messages", "tokens_issued", "tokens_revoked", "status_counts", "account_calls",
)  # fmt: skip
ORIGINAL_NAMES = (
    "requests", "errors", "bytes_in", "bytes_out", "openai_chat_completions", "openai_responses", "anthropic_messages",
    "tokens_issued", "tokens_revoked", "status", "account_calls",
)  # fmt: skip

REQUESTS = st.builds(
    Ended,
    route=st.sampled_from([*(route.pattern for route in ROUTES), None, "/not/offered", 'a "route"\n']),
    status=st.integers(0, 999),
    seconds=st.floats(0, 1e6),
    first_byte_seconds=st.none() | st.floats(0, 1e6),
    cut=st.booleans(),
    left=st.booleans(),
    from_client=st.integers(0, 1 << 40),
    to_client=st.integers(0, 1 << 40),
    from_upstream=st.integers(0, 1 << 40),
    to_upstream=st.integers(0, 1 << 40),
    sent_with=st.lists(st.sampled_from(["primary", "account-1", "account-2", "ann@example.com"]), max_size=4),
    tokens=st.none() | st.builds(Tokens, *[st.integers(0, 1 << 40)] * 4),
)


def request(route: str | None = MESSAGES, status: int = 200, seconds: float = 1.0, **fields: Any) -> Ended:
    return Ended(route=route, status=status, seconds=seconds, **fields)


def counted(*requests: Ended) -> Metrics:
    metrics = Metrics([*ROUTES, REVOKING], version="1.2.3", started_at=STARTED_AT)
    for ended in requests:
        metrics.ended(ended)
    return metrics


def samples(
    metrics: Metrics,
    form: Format = Format.TEXT,
    *,
    in_flight: int = 0,
    accounts: Sequence[AccountSnapshot] = (),
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample on the page, by its name without the prefix and its labels."""
    read_page = read_openmetrics if form is Format.OPENMETRICS else read_text
    page = metrics.page(form, in_flight=in_flight, accounts=accounts).decode()
    found = [sample for family in read_page(page) for sample in family.samples]
    by_name = {
        (sample.name.removeprefix("link_assistant_"), tuple(sorted(sample.labels.items()))): sample.value
        for sample in found
    }
    assert len(by_name) == len(found)
    return by_name


def labelled(metrics: Metrics, name: str, label: str, **page: Any) -> dict[str, float]:
    """The values of one family by its only label."""
    return {
        labels[0][1]: value
        for (found, labels), value in samples(metrics, **page).items()
        if found == name and [key for key, _ in labels] == [label]
    }


def usage(metrics: Metrics, *, in_flight: int = 0, accounts: Sequence[AccountSnapshot] = ()) -> dict[str, Any]:
    """The JSON page, after a turn through JSON."""
    body = msgspec.json.encode(metrics.usage(in_flight=in_flight, accounts=accounts))
    document: dict[str, Any] = msgspec.json.decode(body)
    return document


def pool(names: Iterable[str]) -> AccountPool:
    return AccountPool(names, entropy=lambda size: b"\x80" * size)


# --- the pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Format)
def test_the_page_has_every_family_of_the_original_as_a_counter(form: Format) -> None:
    read_page = read_openmetrics if form is Format.OPENMETRICS else read_text
    page = counted().page(form, in_flight=0, accounts=[]).decode()
    families = {family.name: family for family in read_page(page)}
    for name in ORIGINAL_NAMES:
        assert families[f"link_assistant_{name}"].type == "counter"


def test_usage_has_every_key_of_the_original_first() -> None:
    assert tuple(usage(counted()))[:9] == ORIGINAL_USAGE_KEYS[:9]
    assert set(ORIGINAL_USAGE_KEYS) <= set(usage(counted()))


def test_every_family_says_what_it_is_about() -> None:
    page = counted().page(Format.TEXT, in_flight=0, accounts=[]).decode()
    for family in read_text(page):
        assert family.documentation.endswith(".")
        assert "\\" not in family.documentation


def test_both_formats_hold_the_same_samples() -> None:
    metrics = counted(request(sent_with=("primary",), first_byte_seconds=0.2), request(None, 404))
    assert samples(metrics, Format.TEXT) == samples(metrics, Format.OPENMETRICS)


def test_both_pages_hold_the_same_sums() -> None:
    metrics = counted(request(tokens=Tokens(1, 2, 3, 4), from_upstream=9), request(CHAT, 500, sent_with=("primary",)))
    told, page = usage(metrics), samples(metrics)
    for key in ABOUT:
        assert page[f"{key.removesuffix('_total')}_total", ()] == told[key]


def test_the_order_of_requests_does_not_change_the_page() -> None:
    requests = [
        request(CHAT, 502, sent_with=("account-1", "primary")),
        request(None, 404),
        request(sent_with=("primary",)),
    ]
    pages = {
        counted(*order).page(Format.TEXT, in_flight=0, accounts=[]) for order in (requests, list(reversed(requests)))
    }
    assert len(pages) == 1


def test_the_pages_tell_what_is_running_since_when() -> None:
    metrics = counted()
    assert samples(metrics)["build_info", (("version", "1.2.3"),)] == 1
    assert samples(metrics)["start_time_seconds", ()] == STARTED_AT
    assert (usage(metrics)["version"], usage(metrics)["started_at"]) == ("1.2.3", STARTED_AT)


def test_the_pages_tell_how_many_requests_are_running() -> None:
    assert samples(counted(), in_flight=7)["in_flight_requests", ()] == 7
    assert usage(counted(), in_flight=7)["in_flight"] == 7


@given(requests=st.lists(REQUESTS, max_size=4))
def test_whatever_is_counted_both_pages_can_be_read_and_agree(requests: list[Ended]) -> None:
    metrics = counted(*requests)
    page, told = samples(metrics, Format.OPENMETRICS), usage(metrics)
    assert samples(metrics, Format.TEXT) == page
    assert told["requests_total"] == page["requests_total", ()] == len(requests)
    assert sum(value for (name, _), value in page.items() if name == "route_requests_total") == len(requests)
    assert sum(value for (name, _), value in page.items() if name == "request_duration_seconds_count") == len(requests)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_every_answer_is_counted_a_refusal_made_here_as_well() -> None:
    told = usage(counted(request(), request(status=401), request(None, 404), request("/health"), request(status=400)))
    assert told["requests_total"] == 5
    assert told["errors_total"] == 3
    assert told["status_counts"] == {"200": 2, "401": 1, "400": 1, "404": 1}


def test_a_client_that_leaves_before_the_answer_got_no_status() -> None:
    metrics = counted(request(status=0, left=True))
    told = usage(metrics)
    assert (told["requests_total"], told["client_disconnects"], told["errors_total"]) == (1, 1, 0)
    assert told["status_counts"] == {}
    assert samples(metrics)["route_requests_total", (("code", "none"), ("route", MESSAGES))] == 1


def test_an_answer_that_was_cut_and_a_client_that_left_are_told_apart() -> None:
    told = usage(counted(request(cut=True), request(cut=True), request(left=True), request()))
    assert (told["answers_cut"], told["client_disconnects"]) == (2, 1)


@pytest.mark.parametrize("status", [1, 99, 600, 999])
def test_what_is_no_status_of_http_becomes_no_label(status: int) -> None:
    assert labelled(counted(request(status=status)), "status_total", "code") == {}


def test_a_route_that_is_not_offered_becomes_no_label() -> None:
    metrics = counted(*(request(f"/guess/{number}", 404) for number in range(100)), request(None, 404))
    assert usage(metrics)["route_counts"] == {"none": {"404": 101}}
    assert labelled(metrics, "request_duration_seconds_count", "route") == {"none": 101}


def test_bytes_are_counted_on_either_side() -> None:
    told = usage(counted(*[request(from_client=1, to_client=20, from_upstream=300, to_upstream=4000)] * 2))
    assert (told["bytes_in"], told["bytes_out"]) == (600, 8000)
    assert (told["client_bytes_in"], told["client_bytes_out"]) == (2, 40)


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (CHAT, "openai_chat_completions"),
        (RESPONSES, "openai_responses"),
        (MESSAGES, "anthropic_messages"),
        ("/v1/messages/count_tokens", "anthropic_messages"),
        ("/api/latest/anthropic/v1/messages", "anthropic_messages"),
        ("/api/latest/anthropic/v1/files/{id}", "anthropic_messages"),
        ("/api/tokens", "tokens_issued"),
        ("/api/tokens/revoke", "tokens_revoked"),
        ("/api/latest/anthropic", None),
        ("/v1/models", None),
        ("/health", None),
        (None, None),
    ],
)
def test_a_request_counts_for_its_surface(route: str | None, key: str | None) -> None:
    told = usage(counted(request(route)))
    surfaces = ORIGINAL_USAGE_KEYS[4:9]
    assert {name: told[name] for name in surfaces} == {name: int(name == key) for name in surfaces}


def test_only_an_issued_token_counts_as_one() -> None:
    told = usage(counted(request(ISSUE, 200), request(ISSUE, 201), request(ISSUE, 401), request(REVOKE, 404)))
    assert (told["tokens_issued"], told["tokens_revoked"]) == (2, 0)


def test_the_routes_with_counters_of_their_own_are_offered() -> None:
    assert {CHAT, RESPONSES, ISSUE} | METERED <= {route.pattern for route in ROUTES}


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_billed_tokens_add_up_by_kind() -> None:
    told = usage(counted(request(tokens=Tokens(1, 20, 300, 4000)), request(CHAT, tokens=Tokens(1, 1, 1, 1))))
    assert (told["input_tokens"], told["output_tokens"]) == (2, 21)
    assert (told["cache_creation_tokens"], told["cache_read_tokens"]) == (301, 4001)


@pytest.mark.parametrize(
    ("ended", "count"),
    [
        (request(), 1),
        (request("/api/latest/anthropic/v1/messages"), 1),
        (request(CHAT), 1),
        (request(RESPONSES), 1),
        (request(tokens=Tokens()), 0),
        (request(status=429), 0),
        (request("/v1/messages/count_tokens"), 0),
        (request("/health"), 0),
    ],
)
def test_an_answer_that_must_have_cost_something_and_does_not_say_is_noticed(ended: Ended, count: int) -> None:
    assert usage(counted(ended))["answers_without_usage"] == count


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_duration_lies_in_the_first_bucket_that_holds_it() -> None:
    metrics = counted(*(request(seconds=seconds) for seconds in (0.0, 0.005, 0.006, 600.0, 600.1)))
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "request_duration_seconds_bucket"
    }
    assert list(buckets) == [*map(str, BUCKETS), "+Inf"]
    assert (buckets["0.005"], buckets["0.01"], buckets["300.0"], buckets["600.0"], buckets["+Inf"]) == (2, 3, 3, 4, 5)
    assert samples(metrics)["request_duration_seconds_sum", (("route", MESSAGES),)] == pytest.approx(1200.111)


def test_the_buckets_reach_from_five_milliseconds_to_ten_minutes() -> None:
    assert (BUCKETS[0], BUCKETS[-1]) == (0.005, 600.0)
    assert sorted(BUCKETS) == list(BUCKETS)


def test_the_time_to_the_first_byte_is_about_answers_that_an_upstream_was_asked_for() -> None:
    metrics = counted(
        request(first_byte_seconds=0.4, sent_with=("primary",)),
        request(status=0, left=True, sent_with=("primary",)),
        request(status=401, first_byte_seconds=0.001),
    )
    assert labelled(metrics, "time_to_first_byte_seconds_count", "route") == {MESSAGES: 1}
    assert labelled(metrics, "time_to_first_byte_seconds_sum", "route") == {MESSAGES: 0.4}
    assert labelled(metrics, "request_duration_seconds_count", "route") == {MESSAGES: 3}


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_tries_and_changes_of_the_account_are_told_apart() -> None:
    metrics = counted(request(sent_with=("primary", "primary", "account-1")), request(sent_with=("account-1",)))
    told = usage(metrics)
    assert (told["upstream_attempts"], told["upstream_failovers"]) == (4, 1)
    assert told["account_calls"] == {"account-1": 2, "primary": 2}
    assert labelled(metrics, "account_calls_total", "account") == {"account-1": 2, "primary": 2}


def test_the_open_page_knows_accounts_by_their_place_only() -> None:
    names = ["primary", "account-1", "ann@example.com", "bob@example.com"]
    all_accounts = pool(names)
    all_accounts.unauthorized("ann@example.com", 0.0)
    accounts = all_accounts.snapshot(0.0)
    metrics = counted(request(sent_with=names))
    for form in Format:
        assert b"example.com" not in metrics.page(form, in_flight=0, accounts=accounts)
    by_place = labelled(metrics, "account_calls_total", "account", accounts=accounts)
    assert by_place == {"primary": 1, "account-1": 1, "other": 2}
    cooldowns = labelled(metrics, "account_cooldown_seconds", "account", accounts=accounts)
    assert cooldowns == {"primary": 0, "account-1": 0, "other": 60}
    calls = usage(metrics, accounts=accounts)["account_calls"]
    assert list(calls.items()) == [(name, 1) for name in sorted(names)]


def test_accounts_are_counted_by_their_state() -> None:
    accounts = pool(["primary", "account-1", "account-2", "account-3"])
    accounts.unauthorized("account-1", 10.0)
    accounts.credential_changed("account-2", 10.0, usable=False)
    snapshot = accounts.snapshot(15.0)
    states = {"healthy": 2, "cooling": 1, "unusable": 1}
    assert labelled(counted(), "accounts", "state", accounts=snapshot) == states
    assert usage(counted(), accounts=snapshot)["accounts"] == states
    cooldowns = labelled(counted(), "account_cooldown_seconds", "account", accounts=snapshot)
    assert cooldowns == {"primary": 0, "account-1": 55, "account-2": 0, "account-3": 0}


def test_every_family_says_which_labels_its_samples_have() -> None:
    metrics = counted(request(sent_with=["primary"], first_byte_seconds=0.5), request(None, 404))
    for family in metrics.families(in_flight=1, accounts=pool(["primary"]).snapshot(0.0)):
        assert family.samples
        for sample in family.samples:
            names = [name for name, _ in sample.labels if name != "le"]
            assert names == list(family.labels), family.name


def test_every_state_is_on_the_page_when_no_account_is() -> None:
    assert labelled(counted(), "accounts", "state") == {"healthy": 0, "cooling": 0, "unusable": 0}
