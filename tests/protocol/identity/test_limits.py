import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.identity.limits import (
    LONGEST_WINDOW_SECONDS,
    MAX_WINDOWS,
    NO_LIMITS,
    Limits,
    Quota,
    Window,
    WindowStatus,
    read_limits,
)
from protocol.values import Headers

WALL = 1_795_000_000.0
UNIFIED = b"anthropic-ratelimit-unified-"


def unified(fields: dict[str, str]) -> Headers:
    return [(UNIFIED + name.encode(), value.encode()) for name, value in fields.items()]


def windows(limits: Limits) -> dict[str, Window]:
    return {window.name: window for window in limits.windows}


SUBSCRIPTION = unified(
    {
        "status": "allowed_warning", "reset": "1795010000", "representative-claim": "seven_day",
        "5h-status": "allowed", "5h-utilization": "0.25", "5h-reset": "1795010000",
        "7d-status": "allowed_warning", "7d-utilization": "0.91", "7d-reset": "2026-12-01T00:00:00Z",
        "7d_oi-status": "rejected", "7d_oi-utilization": "1.01", "overage-status": "rejected",
    }
)  # fmt: skip


def test_a_subscription_s_windows_are_read_each_for_itself() -> None:
    limits = read_limits(SUBSCRIPTION, WALL)
    assert windows(limits) == {
        "5h": Window("5h", WindowStatus.ALLOWED, 0.25, 1_795_010_000.0),
        "7d": Window("7d", WindowStatus.WARNING, 0.91, 1_796_083_200.0),
        "7d_oi": Window("7d_oi", WindowStatus.REJECTED, 1.01, None, model_scoped=True),
    }
    assert (limits.status, limits.resets_at, limits.claim) == (WindowStatus.WARNING, 1_795_010_000.0, "seven_day")
    assert limits.overage is WindowStatus.REJECTED


def test_an_api_key_s_quotas_are_read() -> None:
    limits = read_limits(
        [
            (b"anthropic-ratelimit-requests-limit", b"50"),
            (b"anthropic-ratelimit-requests-remaining", b"0"),
            (b"anthropic-ratelimit-requests-reset", b"2026-12-01T00:00:30+00:00"),
            (b"anthropic-ratelimit-input-tokens-limit", b"40000"),
            (b"anthropic-ratelimit-input-tokens-remaining", b"10000"),
        ],
        WALL,
    )
    requests, input_tokens = limits.quotas
    assert requests == Quota("requests", 50, 0, 1_796_083_230.0)
    assert (requests.spent, requests.utilization) == (True, 1.0)
    assert (input_tokens.spent, input_tokens.utilization) == (False, 0.75)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({b"retry-after": b"17"}, 17),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after": b"0"}, 0),
        ({b"retry-after": b"Wed, 18 Nov 2026 11:10:20 GMT"}, 220),
        ({b"retry-after": b"Wednesday, 18-Nov-26 11:10:20 GMT"}, 220),
        ({b"retry-after": b"Wed Nov 18 11:10:20 2026"}, 220),
        ({b"retry-after": b"Sun, 06 Nov 1994 08:49:37 GMT"}, 0),
        ({b"retry-after": b"9999999999"}, LONGEST_WINDOW_SECONDS),
        ({b"retry-after": b"5", b"retry-after-ms": b"250"}, 0.25),
        ({b"retry-after": b"5", b"retry-after-ms": b"soon"}, 5),
        ({b"retry-after": b"-5"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"Sat, 31 Feb 2026 00:00:00 GMT"}, None),
        ({b"retry-after": b"Sat, 31 Xxx 2026 00:00:00 GMT"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"Sun, 00 Nov 1994 08:49:37 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(fields: dict[bytes, bytes], seconds: float | None) -> None:
    assert read_limits(list(fields.items()), WALL).retry_after == seconds


@pytest.mark.parametrize("value", [b"87.5", b"-1", b"nan", b"inf", b"1e-1", b"0x1", b"", b"\xff", b"1_0", b"9" * 5000])
def test_a_share_that_is_none_is_left_out(value: bytes) -> None:
    limits = read_limits([(UNIFIED + b"5h-utilization", value)], WALL)
    assert windows(limits) == {"5h": Window("5h")}


@pytest.mark.parametrize(
    "value", [b"1795000000", b"1795000000000", b"2026-11-18T11:06:40Z", b"2026-11-18T12:06:40+01:00"]
)
def test_a_reset_is_seconds_milliseconds_or_a_date(value: bytes) -> None:
    assert read_limits([(UNIFIED + b"reset", value)], WALL).resets_at == WALL


@pytest.mark.parametrize("value", [b"9" * 18, b"tomorrow", b"2026-13-01T00:00:00Z", b"\xff", b"", b"-1"])
def test_a_reset_that_is_no_moment_is_left_out(value: bytes) -> None:
    assert read_limits([(UNIFIED + b"reset", value)], WALL).resets_at is None


def test_fields_about_something_else_say_nothing() -> None:
    assert read_limits([(b"x-ratelimit-limit", b"1"), (b"content-type", b"x")], WALL) is NO_LIMITS
    odd = [UNIFIED + b"overage-disabled-reason", UNIFIED + b"slow-budget-reset", b"anthropic-ratelimit-x-limit"]
    assert read_limits([(name, b"1") for name in odd], WALL) == NO_LIMITS


# --- which window refused


def refusing(fields: dict[str, str]) -> list[tuple[str, float | None, bool]]:
    found = read_limits(unified(fields), WALL).refusing()
    return [(window.name, window.resets_at, window.model_scoped) for window in found]


def test_every_rejected_window_refuses_until_its_own_reset() -> None:
    fields = {"5h-status": "rejected", "5h-reset": "10", "7d-status": "rejected", "7d-reset": "20", "reset": "30"}
    assert refusing(fields) == [("5h", 10.0, False), ("7d", 20.0, False)]


def test_a_rejected_window_without_a_reset_takes_the_summary_s() -> None:
    assert refusing({"5h-status": "rejected", "reset": "30"}) == [("5h", 30.0, False)]


def test_a_window_without_a_status_refuses_when_it_is_used_up() -> None:
    fields = {"7d_oi-utilization": "1", "7d_oi-reset": "10", "5h-utilization": "0.9"}
    assert refusing(fields) == [("7d_oi", 10.0, True)]


@pytest.mark.parametrize(
    ("claim", "window"),
    [
        ("five_hour", ("5h", 30.0, False)),
        ("seven_day", ("7d", 30.0, False)),
        ("seven_day_opus", ("7d_opus", 30.0, True)),
        ("something new", ("unified", 30.0, False)),
    ],
)
def test_the_summary_alone_names_the_window_by_its_claim(claim: str, window: tuple[str, float, bool]) -> None:
    assert refusing({"status": "rejected", "reset": "30", "representative-claim": claim}) == [window]


@pytest.mark.parametrize("claim", ["five_hour", ""])
def test_a_refusal_with_the_shared_windows_open_is_about_the_model(claim: str) -> None:
    fields = {"5h-status": "allowed", "7d-status": "allowed_warning", "status": "rejected", "reset": "30"}
    assert refusing({**fields, "representative-claim": claim}) == [("unified", 30.0, True)]


def test_no_window_refuses_when_all_are_open() -> None:
    assert refusing({"status": "allowed", "5h-status": "allowed", "5h-utilization": "1.0"}) == []


# --- properties

NAMES = st.sampled_from(
    [
        UNIFIED + part
        for part in (b"status", b"reset", b"5h-status", b"5h-reset", b"5h-utilization", b"7d_oi-status", b"7d_oi-reset",
                     b"representative-claim", b"overage-status")
    ]
    + [b"retry-after", b"retry-after-ms", b"anthropic-ratelimit-tokens-limit", b"anthropic-ratelimit-tokens-remaining"]
)  # fmt: skip
ANY_NAME = st.binary(max_size=20).map(lambda tail: UNIFIED + tail) | st.integers(0, 999).map(
    lambda n: UNIFIED + b"%dh-status" % n
)
VALUES = st.binary(max_size=50) | st.sampled_from(
    [
        b"rejected",
        b"allowed",
        b"1",
        b"0.5",
        b"9" * 18,
        b"9999-12-31T23:59:59-23:59",
        b"0001-01-01T00:00:00+23:59",
        b"five_hour",
    ]
)


@given(st.lists(st.tuples(NAMES | ANY_NAME, VALUES), max_size=40), st.floats(allow_nan=True, allow_infinity=True))
def test_any_bytes_are_limits(headers: Headers, wall: float) -> None:
    limits = read_limits(headers, wall)
    assert limits.retry_after is None or 0 <= limits.retry_after <= LONGEST_WINDOW_SECONDS
    assert len(limits.windows) <= MAX_WINDOWS
    for window in [*limits.windows, *limits.refusing()]:
        assert window.utilization is None or 0 <= window.utilization <= 2
        assert window.resets_at is None or abs(window.resets_at) < 1e12
