"""What a token is good for is decided when its request is whole, by what every router knows then."""

import json
from typing import Any, Final

import pytest

from tests.protocol.conftest import OpenScene
from tests.support.operator import AUDIT, LINO, Operator
from tests.support.pooled import Pooled
from tests.support.requests import post
from tests.support.scene import Client
from transports.memory import EPOCH

BODY: Final = b'{"model":"claude-haiku-4-5","max_tokens":50,"messages":[]}'
CHAT: Final = b'{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"hi"}]}'
ANSWER: Final = b'{"type":"message","usage":{"input_tokens":7,"output_tokens":5}}'


@pytest.fixture
def operator(scene_with: OpenScene) -> Operator:
    """Of a router that keeps its tokens in both files."""
    return Operator(scene_with(STORAGE_POLICY="both"))


def beside(operator: Operator, scene_with: OpenScene) -> Operator:
    """Of another router on the same disk."""
    return Operator(scene_with(beside=operator.scene, STORAGE_POLICY="both"))


def asks(operator: Operator, issued: dict[str, Any], body: bytes = BODY) -> Client:
    return operator.scene.client().sends(post(issued["token"].encode(), body))


def is_answered(operator: Operator, issued: dict[str, Any], body: bytes = BODY) -> None:
    client = asks(operator, issued, body)
    operator.scene.upstream().replies(ANSWER, b"200 OK", b"Connection: close")
    client.saw(200)


# --- limits that are not known ----------------------------------------------------------------------------------------


def test_limits_hold_at_another_router_from_the_first_request(operator: Operator, scene_with: OpenScene) -> None:
    other = beside(operator, scene_with)
    issued = operator.issue(models=["claude-opus-*"])
    asks(other, issued).saw(403)
    assert other.scene.asked_nobody()
    is_answered(other, issued, BODY.replace(b"haiku", b"opus"))


def test_a_limited_token_that_nobody_knows_any_more_is_refused(operator: Operator, scene_with: OpenScene) -> None:
    issued, free = operator.issue(max_requests=1), operator.issue()
    for policy, hint in (("memory", None), ("both", b"1")):
        stranger = Operator(scene_with(STORAGE_POLICY=policy))
        status, headers, body = asks(stranger, issued).response()
        error = json.loads(body)["error"]
        assert (status, error["type"], headers.get(b"retry-after")) == (401, "authentication_error", hint)
        assert "limits are not known" in error["message"]
        is_answered(stranger, free)


@pytest.mark.parametrize("policy", ["memory", "both"])
@pytest.mark.parametrize(("verb", "told", "status"), [("revoke", "revoked", 403), ("expire", "expired", 401)])
def test_a_token_without_a_record_is_ended_by_its_id(
    policy: str, verb: str, told: str, status: int, scene_with: OpenScene
) -> None:
    issued = Operator(scene_with()).issue()
    later = Operator(scene_with(STORAGE_POLICY=policy))
    later.get(f"/api/tokens/{issued['id']}", 404)
    is_answered(later, issued)
    assert later.post(f"/api/tokens/{verb}", {"id": issued["id"]}) == {told: issued["id"]}
    asks(later, issued).saw(status)
    assert (issued["id"].encode() in later.file(LINO)) is (policy == "both")


# --- while a request arrives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "limits"),
    [
        (b"/v1/messages", BODY, {"models": ["claude-*"]}),
        (b"/v1/chat/completions", CHAT, {}),
        (b"/v1/responses", b'{"model":"claude-haiku-4-5","input":"hi"}', {}),
    ],
)
@pytest.mark.parametrize(("verb", "status"), [("revoke", 403), ("expire", 401)])
def test_a_token_that_is_ended_before_its_request_is_whole_is_refused(
    path: bytes, body: bytes, limits: dict[str, Any], verb: str, status: int, operator: Operator
) -> None:
    issued = operator.issue(**limits)
    request = post(issued["token"].encode(), body, path)
    client = operator.scene.client().sends(request[:-1])
    operator.post(f"/api/tokens/{verb}", {"id": issued["id"]})
    operator.scene.passes(5)
    assert client.sends(request[-1:]).response()[0] == status
    assert operator.scene.asked_nobody()


def test_requests_that_are_held_back_are_no_way_round_a_rate() -> None:
    scene = Pooled(2, BODY_TIMEOUT_SECS="600")
    issued = Operator(scene).issue(requests_per_minute=2)
    request, held = post(issued["token"].encode(), BODY), []
    for _ in range(5):
        held += [scene.client().sends(request[:-1]) for _ in range(2)]
        scene.passes(60.5)
    for client in held:
        client.sends(request[-1:])
    sent = 0
    while scene.next_of("upstream") is not None:
        sent += 1
    assert sent == 2


# --- a clock, a budget, a batch ---------------------------------------------------------------------------------------


def test_a_wall_clock_that_was_wrong_for_a_moment_brings_no_token_back(operator: Operator) -> None:
    issued, gateway = operator.issue(ttl_hours=24 * 365), operator.scene.shell.gateway
    operator.revoke(issued["id"])
    gateway.clock_synced(EPOCH - gateway.now + 2 * 365 * 86_400)
    operator.issue(label="meanwhile")
    operator.scene.passes(5)
    gateway.clock_synced(EPOCH - gateway.now)
    asks(operator, issued).saw(403)
    assert b"(revoked true)" in operator.file(LINO)


def test_an_image_is_let_in_on_a_budget_that_covers_what_it_costs(operator: Operator) -> None:
    issued = operator.issue(token_budget=10_000)
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 500_000}
    content = [{"type": "image", "source": source}]
    body = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": content}]}
    is_answered(operator, issued, json.dumps(body).encode())


def test_a_budget_is_not_passed_by_a_limit_that_the_router_cannot_read(operator: Operator) -> None:
    issued = operator.issue(token_budget=1000)
    for most, status in ((b'"1e5"', 429), (b"100000.0", 429), (b'"lots"', 400), (b"[1]", 400)):
        asks(operator, issued, BODY.replace(b"50", most)).saw(status)
    assert operator.scene.asked_nobody()


@pytest.mark.parametrize("limits", [{"max_requests": 5}, {"requests_per_minute": 5}])
def test_a_batch_is_for_tokens_whose_requests_are_not_counted(limits: dict[str, Any], operator: Operator) -> None:
    issued = operator.issue(**limits)
    client = operator.scene.client()
    client.sends(post(issued["token"].encode(), b'{"requests":[]}', b"/v1/messages/batches")).saw(403)
    assert operator.scene.asked_nobody()


# --- files ------------------------------------------------------------------------------------------------------------


def test_an_idle_router_learns_what_a_token_has_used_elsewhere(operator: Operator, scene_with: OpenScene) -> None:
    other = beside(operator, scene_with)
    issued = operator.issue(max_requests=2)
    for _ in range(2):
        is_answered(operator, issued)
    for each in (operator, other):
        each.scene.passes(10)
    asks(other, issued).saw(429)
    assert other.get(f"/api/tokens/{issued['id']}")["usage"]["input_tokens"] == 14


def test_strangers_do_not_fill_the_audit_log(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY="both", TOKEN_ADMIN_KEY="the-admin-key"))
    operator.post("/api/tokens", {}, 401)
    operator.post("/api/tokens/revoke", {"id": "x"}, 401)
    assert operator.audit() == []
    operator.asks("POST", "/api/tokens", {}, b"Authorization: Bearer the-admin-key").saw(200)
    assert [entry["status"] for entry in operator.audit()] == [200]


def test_lines_of_the_audit_log_that_could_not_be_written_are_written_later(operator: Operator) -> None:
    disk = operator.scene.shell.disk
    disk.read_only.add(AUDIT)
    issued = operator.issue()
    operator.revoke(issued["id"])
    assert operator.audit() == []
    disk.read_only.clear()
    operator.scene.passes(10)
    assert [entry["path"] for entry in operator.audit()] == ["/api/tokens", "/api/tokens/revoke"]
