"""``/metrics`` and ``/v1/usage``: what they say is what happened, and the public one names nobody."""

from typing import Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from protocol.metrics import ABOUT, USAGE_ABOUT
from tests.protocol.conftest import OpenScene
from tests.support.operator import Operator
from tests.support.requests import BODY, LAST_CHUNK, STREAM_HEAD, chunk, post, reply
from tests.support.scene import Scene
from transports.memory import EPOCH

ANSWER: Final = (
    b'{"type":"message","usage":{"input_tokens":7,"output_tokens":5,"cache_read_input_tokens":3,'
    b'"cache_creation_input_tokens":2}}'
)
START: Final = (
    b'data: {"type":"message_start","message":{"type":"message","usage":{"input_tokens":11,"output_tokens":1}}}\n\n'
)
END: Final = b'data: {"type":"message_delta","delta":{},"usage":{"output_tokens":20}}\n\n'
STOP: Final = b'data: {"type":"message_stop"}\n\n'

ORIGINAL_KEYS: Final = (
    "requests_total", "errors_total", "bytes_in", "bytes_out", "openai_chat_completions", "openai_responses",
    "anthropic_messages", "tokens_issued", "tokens_revoked", "status_counts", "account_calls",
)  # fmt: skip


@pytest.fixture
def operator(scene: Scene) -> Operator:
    return Operator(scene)


def asks_whole(operator: Operator, answer: bytes = ANSWER, status: bytes = b"200 OK") -> None:
    client = operator.scene.client().posts()
    operator.scene.upstream().sends(reply(answer, status, b"Connection: close"))
    client.response()


def streams(operator: Operator, *events: bytes, cut: bool = False) -> None:
    client = operator.scene.client().posts()
    upstream = operator.scene.upstream().sends(STREAM_HEAD + b"".join(map(chunk, events)))
    upstream.leaves() if cut else upstream.sends(LAST_CHUNK)
    client.leaves()


# --- counters ---------------------------------------------------------------------------------------------------------


def test_a_whole_answer_is_counted_by_request_byte_and_token(operator: Operator) -> None:
    asks_whole(operator)
    seen = operator.metrics()
    expected = {
        "requests_total": 1,
        "anthropic_messages_total": 1,
        "bytes_in_total": len(ANSWER),
        "bytes_out_total": len(BODY),
        "client_bytes_in_total": len(BODY),
        "client_bytes_out_total": len(ANSWER),
        "input_tokens_total": 7,
        "output_tokens_total": 5,
        "cache_creation_tokens_total": 2,
        "cache_read_tokens_total": 3,
        "errors_total": 0,
        "answers_without_usage_total": 0,
        "status_total 200": 1,
        "route_requests_total /v1/messages 200": 1,
        "account_calls_total primary": 1,
        "upstream_attempts_total": 1,
        "request_duration_seconds_count /v1/messages": 1,
        "time_to_first_byte_seconds_count /v1/messages": 1,
        "in_flight_requests": 1,
        "accounts healthy": 1,
    }
    assert {name: seen[name] for name in expected} == expected


def test_a_stream_is_counted_as_a_whole_answer_is(operator: Operator) -> None:
    streams(operator, START, END, STOP)
    seen = operator.metrics()
    size = len(START + END + STOP)
    assert (seen["bytes_in_total"], seen["client_bytes_out_total"]) == (size, size)
    assert (seen["input_tokens_total"], seen["output_tokens_total"]) == (11, 20)
    assert (seen["answers_cut_total"], seen["client_disconnects_total"]) == (0, 0)


def test_a_stream_that_was_cut_has_cost_what_it_had_told(operator: Operator) -> None:
    streams(operator, START, cut=True)
    seen = operator.metrics()
    assert (seen["input_tokens_total"], seen["output_tokens_total"], seen["answers_cut_total"]) == (11, 1, 1)


def test_an_answer_that_does_not_say_its_cost_is_told_of(operator: Operator) -> None:
    asks_whole(operator, b'{"type":"message"}')
    assert operator.metrics()["answers_without_usage_total"] == 1


def test_a_client_that_leaves_is_counted_with_no_status(operator: Operator) -> None:
    operator.scene.client().posts().leaves()
    seen = operator.metrics()
    assert (seen["client_disconnects_total"], seen["route_requests_total /v1/messages none"]) == (1, 1)
    assert not [name for name in seen if name.startswith("status_total")]


def test_local_refusals_are_counted_by_their_status(operator: Operator) -> None:
    scene = operator.scene
    scene.client().gets(b"/nowhere").saw(404)
    scene.client().gets(b"/v1/messages").saw(401)
    scene.client().sends(post(b"la_sk_wrong")).saw(401)
    scene.client().sends(b"\x16\x03\x01").saw(400)
    scene.client().posts(b"", path=b"/health").saw(405)
    seen = operator.metrics()
    assert {code: seen[f"status_total {code}"] for code in (400, 401, 404, 405)} == {400: 1, 401: 2, 404: 1, 405: 1}
    assert (seen["requests_total"], seen["errors_total"], seen["bytes_in_total"]) == (5, 5, 0)
    assert seen["route_requests_total none 404"] == 1
    assert "time_to_first_byte_seconds_count /v1/messages" not in seen


def test_issued_and_revoked_tokens_are_counted_and_attempts_are_not(operator: Operator) -> None:
    operator.issue()
    operator.revoke(operator.issue()["id"])
    operator.post("/api/tokens", {"ttl_hours": 0}, 400)
    operator.post("/api/tokens/revoke", {"id": "nobody"}, 404)
    seen = operator.metrics()
    assert (seen["tokens_issued_total"], seen["tokens_revoked_total"]) == (2, 1)


# --- the public page --------------------------------------------------------------------------------------------------


def test_the_page_comes_in_the_format_that_is_asked_for(operator: Operator) -> None:
    asks_whole(operator)
    for accept, kind, read in (
        (b"*/*", b"text/plain; version=0.0.4; charset=utf-8", read_text),
        (
            b"application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            b"application/openmetrics-text; version=1.0.0; charset=utf-8",
            read_openmetrics,
        ),
    ):
        status, headers, page = operator.scene.client().gets(b"/metrics", b"Accept: " + accept).response()
        assert (status, headers[b"content-type"]) == (200, kind)
        families = {family.name: family for family in read(page.decode())}
        assert all(family.documentation for family in families.values())
        requests = families["link_assistant_requests"]
        assert (requests.type, requests.samples[0].name) == ("counter", "link_assistant_requests_total")
        assert requests.samples[0].value == (1 if read is read_text else 2)


def test_the_page_is_open_and_names_nobody(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(TOKEN_ADMIN_KEY="the-admin-key"))
    asks_whole(operator)
    page = operator.scene.client().gets(b"/metrics").response()[2]
    token_id = str(operator.scene.requests()[0]["token"]).encode()
    assert token_id not in page
    assert b"home" not in page
    assert b"memory" not in page


# --- the operator's page ----------------------------------------------------------------------------------------------


def test_usage_has_the_keys_of_the_original_and_the_same_counts(operator: Operator) -> None:
    asks_whole(operator)
    asks_whole(operator, b"{}", b"429 Too Many Requests")
    operator.issue()
    usage, seen = operator.get("/v1/usage"), operator.metrics()
    assert list(usage) == [*ABOUT, *USAGE_ABOUT]
    assert set(ORIGINAL_KEYS) < set(usage)
    assert usage["status_counts"] == {"200": 2, "429": 1}
    assert usage["account_calls"] == {"primary": 2}
    assert usage["started_at"] == EPOCH
    assert usage["in_flight"] == 1
    same = set(ABOUT) - {"requests_total", "client_bytes_out"}  # which the look at them changed
    assert {key: usage[key] for key in same} == {key: seen[f"{key.removesuffix('_total')}_total"] for key in same}


def test_usage_says_what_each_token_has_used_with_or_without_a_record(operator: Operator) -> None:
    issued = operator.issue(label="ann")
    operator.issue(label="idle")
    for token in (issued["token"].encode(), operator.scene.token):
        operator.scene.client().sends(post(token))
        operator.scene.upstream().sends(reply(ANSWER, b"200 OK", b"Connection: close"))
    tokens = operator.get("/v1/usage")["tokens"]
    used = {
        "requests": 1,
        "input_tokens": 7,
        "output_tokens": 5,
        "cache_creation_tokens": 2,
        "cache_read_tokens": 3,
        "last_used": int(EPOCH),
    }
    assert tokens == {
        issued["id"]: {"label": "ann", **used},
        str(operator.scene.requests()[-2]["token"]): {"label": "", **used},
    }


# --- hidden surfaces --------------------------------------------------------------------------------------------------

SURFACES: Final = {
    "DISABLE_METRICS": ["GET /metrics", "GET /v1/usage", "GET /v1/accounts"],
    "DISABLE_OPENAI_API": [
        "POST /v1/chat/completions",
        "POST /v1/responses",
        "GET /v1/models",
        "GET /v1/models/claude-x",
    ],
    "DISABLE_ANTHROPIC_API": [
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "GET /v1/messages/batches",
        "GET /v1/files",
        "POST /api/latest/anthropic/v1/messages",
        "GET /api/latest/anthropic/v1/models",
    ],
}


@pytest.mark.parametrize("switch", SURFACES)
def test_a_surface_that_is_switched_off_is_not_there_for_anybody(switch: str, scene_with: OpenScene) -> None:
    scene = scene_with(**{switch: "true"})
    for hidden, requests in SURFACES.items():
        for request in requests:
            for key in (b"X-Nothing: 1", b"X-Api-Key: " + scene.token):
                client = scene.client().sends(
                    f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n".encode() + key + b"\r\n\r\n"
                )
                status = scene.requests()[-1]["status"] if client.peer.inbox else None
                assert (status == 404) == (hidden == switch), request
                client.leaves()


def test_operations_stay_whatever_is_switched_off(scene_with: OpenScene) -> None:
    scene = scene_with(**dict.fromkeys(SURFACES, "true"))
    scene.client().gets(b"/health").saw(200, b"ok")
    Operator(scene).issue()
