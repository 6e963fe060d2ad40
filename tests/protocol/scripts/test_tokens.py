"""``/api/tokens``: who gets a token, for what, what is known of it, and how it ends."""

import json
from typing import Final

import pytest

from protocol.commands import LoadFiles, UpdateFiles
from protocol.identity.tokens import TokenVerifier
from protocol.scripts.tokens import MAX_BODY
from protocol.values import Peer, PeerKind, Secret
from tests.protocol.conftest import OpenScene
from tests.support.operator import BINARY, LINO, Operator
from tests.support.requests import post
from tests.support.scene import Client, Scene
from tests.support.stage import CREDENTIALS, TOKEN_SECRET
from transports.memory import EPOCH


@pytest.fixture
def operator(scene: Scene) -> Operator:
    return Operator(scene)


def asks(
    scene: Scene, body: bytes, *headers: bytes, host: bytes = b"localhost", kind: bytes = b"application/json"
) -> Client:
    lines = [b"POST /api/tokens HTTP/1.1", b"Host: " + host, b"Content-Length: %d" % len(body), *headers]
    if kind:
        lines.append(b"Content-Type: " + kind)
    return scene.client().sends(b"\r\n".join([*lines, b"", b""]) + body)


def test_a_token_is_issued_as_asked(scene: Scene) -> None:
    client = asks(scene, b'{"ttl_hours": 2, "label": "laptop", "account": "primary", "unknown": 1}')
    status, headers, body = client.response()
    issued = json.loads(body)
    claims = TokenVerifier(Secret(TOKEN_SECRET)).verify(issued["token"].encode(), EPOCH)
    assert (status, headers[b"cache-control"]) == (200, b"no-store")
    assert (claims.label, claims.account, claims.exp - claims.iat) == ("laptop", "primary", 7200)
    assert {**issued, "token": 0} == {
        "token": 0,
        "ttl_hours": 2,
        "label": "laptop",
        "account": "primary",
        "id": claims.sub,
        "expires_at": claims.exp,
    }
    assert scene.requests()[-1]["issued"] == claims.sub


def test_a_token_may_last_a_part_of_an_hour(scene: Scene) -> None:
    issued = json.loads(asks(scene, b'{"ttl_hours": 0.5}').response()[2])
    claims = TokenVerifier(Secret(TOKEN_SECRET)).verify(issued["token"].encode(), EPOCH)
    assert claims.exp - claims.iat == 1800
    assert issued["ttl_hours"] == 0.5


def test_everything_has_a_default(scene: Scene) -> None:
    issued = json.loads(asks(scene, b"{}").response()[2])
    assert (issued["ttl_hours"], issued["label"], issued["account"]) == (24, "", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not JSON",
        b'{"ttl_hours": "2"}',
        b'{"ttl_hours": 0}',
        b'{"ttl_hours": -0.5}',
        b'{"ttl_hours": 1e300}',
        b'{"ttl_hours": 100000000}',
        b'{"label": 7}',
        b'{"label": "\xff"}',
        b'{"unknown": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"label": "%s"}' % (b"x" * 1025),
        b'{"account": "%s"}' % (b"x" * 5000),
    ],
)
def test_anything_else_is_a_400(scene: Scene, body: bytes) -> None:
    status, _, error = asks(scene, body).response()
    assert (status, json.loads(error)["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
def test_a_form_of_a_web_page_cannot_ask(scene: Scene, kind: bytes) -> None:
    asks(scene, b"{}", kind=kind).saw(400)


def test_a_body_beyond_its_limit_is_a_413(scene: Scene) -> None:
    asks(scene, b" " * (MAX_BODY + 1)).saw(413)


def test_a_name_that_was_pointed_here_cannot_ask(scene: Scene) -> None:
    asks(scene, b"{}", host=b"evil.example").saw(401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [([], 401), ([b"Authorization: Bearer wrong"], 401), ([b"Authorization: Bearer the-admin-key"], 200)],
)
def test_with_an_admin_key_only_its_holder_may_ask(scene_with: OpenScene, headers: list[bytes], status: int) -> None:
    asks(scene_with(TOKEN_ADMIN_KEY="the-admin-key"), b"{}", *headers).saw(status)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_are_told_back_and_kept(operator: Operator) -> None:
    limits = {"max_requests": 5, "requests_per_minute": 2, "token_budget": 900, "models": ["claude-*"]}
    issued = operator.issue(**limits)
    record = operator.get(f"/api/tokens/{issued['id']}")
    assert {name: issued[name] for name in limits} == {name: record[name] for name in limits} == limits


@pytest.mark.parametrize(
    "wish",
    [
        {"max_requests": 0},
        {"requests_per_minute": -1},
        {"token_budget": 1.5},
        {"models": [""]},
        {"models": "claude-*"},
    ],
)
def test_a_limit_that_is_none_is_a_400_that_names_it(wish: dict[str, object], operator: Operator) -> None:
    error = operator.post("/api/tokens", wish, 400)["error"]
    assert error["type"] == "invalid_request_error"
    assert next(iter(wish)) in error["message"]


# --- records ----------------------------------------------------------------------------------------------------------

NOTHING_USED: Final = {
    "requests": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_creation_tokens": 0,
    "cache_read_tokens": 0,
    "last_used": 0,
}


def test_records_are_listed_oldest_first_with_what_was_used(operator: Operator) -> None:
    first = operator.issue(label="first", account="primary", max_requests=9)
    operator.scene.passes(1)
    operator.issue(label="second")
    one, two = operator.get("/api/tokens/list")["data"]
    assert list(one)[:6] == ["id", "label", "issued_at", "expires_at", "revoked", "account"]
    assert one == {
        "id": first["id"],
        "label": "first",
        "issued_at": int(EPOCH),
        "expires_at": int(EPOCH) + 24 * 3600,
        "revoked": False,
        "account": "primary",
        "max_requests": 9,
        "used_requests": 0,
        "usage": NOTHING_USED,
    }
    assert (two["label"], two["account"]) == ("second", None)
    assert operator.get(f"/api/tokens/{first['id']}") == one


def test_a_record_shows_what_its_token_has_used(operator: Operator) -> None:
    issued = operator.issue()
    operator.scene.client().sends(post(issued["token"].encode()))
    operator.scene.upstream().replies(b'{"type":"message","usage":{"input_tokens":7,"output_tokens":5}}')
    operator.scene.passes(3)
    record = operator.get(f"/api/tokens/{issued['id']}")
    assert record["used_requests"] == 1
    assert record["usage"] == NOTHING_USED | {
        "requests": 1, "input_tokens": 7, "output_tokens": 5, "last_used": int(EPOCH),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "told", "refusal"),
    [
        ("revoke", "revoked", (403, "permission_error", "Token has been revoked")),
        ("expire", "expired", (401, "authentication_error", "Token has expired")),
    ],
)
def test_a_token_that_was_ended_is_refused_from_the_answer_on(
    verb: str, told: str, refusal: tuple[int, str, str], operator: Operator
) -> None:
    scene, issued = operator.scene, operator.issue()
    holder = scene.client().sends(post(issued["token"].encode()))
    scene.upstream().replies()
    holder.saw(200)
    assert operator.post(f"/api/tokens/{verb}", {"id": issued["id"]}) == {told: issued["id"]}
    assert scene.requests()[-1][told] == issued["id"]
    status, _, body = holder.sends(post(issued["token"].encode())).response()
    error = json.loads(body)["error"]
    assert (status, error["type"], error["message"]) == refusal
    record = operator.get(f"/api/tokens/{issued['id']}")
    assert (record["revoked"], record["expires_at"] == int(EPOCH)) == (verb == "revoke", verb == "expire")


def test_a_token_with_an_id_of_another_kind_is_ended_if_it_is_known(scene_with: OpenScene) -> None:
    written_by_hand = b'(token ci-2024 (label "ci") (issued_at 1) (expires_at 1900000000) (revoked false))\n'
    operator = Operator(scene_with(CREDENTIALS, {LINO: written_by_hand}, STORAGE_POLICY="text"))
    operator.revoke("ci-2024")
    assert operator.get("/api/tokens/ci-2024")["revoked"] is True
    operator.post("/api/tokens/revoke", {"id": "ci-2025"}, 404)


def test_an_answer_that_runs_when_its_token_is_revoked_is_finished(operator: Operator) -> None:
    issued = operator.issue()
    holder = operator.scene.client().sends(post(issued["token"].encode()))
    operator.revoke(issued["id"])
    operator.scene.upstream().replies()
    holder.saw(200)


@pytest.mark.parametrize("policy", ["memory", "both"])
def test_what_nobody_knows_is_a_404_and_leaves_no_trace(policy: str, scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY=policy))
    for error in (
        operator.post("/api/tokens/revoke", {"id": "no-such-token"}, 404),
        operator.post("/api/tokens/expire", {"id": "no-such-token"}, 404),
        operator.get("/api/tokens/no-such-token", 404),
    ):
        assert error["error"]["type"] == "not_found_error"
    assert operator.get("/api/tokens/list") == {"data": []}


@pytest.mark.parametrize("body", [{}, {"id": 7}, {"id": None}, [], "text"])
@pytest.mark.parametrize("verb", ["revoke", "expire"])
def test_without_an_id_there_is_nothing_to_end(verb: str, body: object, operator: Operator) -> None:
    assert operator.post(f"/api/tokens/{verb}", body, 400)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("policy", ["memory", "both"])
@pytest.mark.parametrize(("verb", "told"), [("revoke", "revoked"), ("expire", "expired")])
def test_a_token_without_a_record_is_ended_by_itself(verb: str, told: str, policy: str, scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY=policy))
    token = operator.scene.token.decode()
    token_id = operator.post(f"/api/tokens/{verb}", {"token": token})[told]
    assert operator.scene.client().sends(post(token.encode())).response()[0] in (401, 403)
    record = operator.get(f"/api/tokens/{token_id}")
    assert (record["revoked"], record["expires_at"] <= EPOCH) == (verb == "revoke", verb == "expire")
    assert record.get("signed_until", record["expires_at"]) == int(EPOCH) + 10_000 * 3600, "when the record may go"
    operator.scene.passes(1)
    assert operator.post(f"/api/tokens/{verb}", {"token": token}) == {told: token_id}
    assert token.rpartition(".")[2] not in repr(operator.scene.shell.logs)


@pytest.mark.parametrize("token", ["", "la_sk_wrong", "la_sk_eyJhbGciOiJub25lIn0.e30.", "sk-ant-api03-key", "\ud800"])
def test_what_is_no_token_of_this_router_cannot_be_ended(token: str, operator: Operator) -> None:
    error = operator.post("/api/tokens/revoke", {"token": token}, 400)["error"]
    assert error["type"] == "invalid_request_error"
    assert not token or token not in error["message"]
    assert operator.get("/api/tokens/list") == {"data": []}


# --- who may ----------------------------------------------------------------------------------------------------------

ADMINISTRATION: Final = [
    ("POST", "/api/tokens"),
    ("GET", "/api/tokens/list"),
    ("HEAD", "/api/tokens/list"),
    ("GET", "/api/tokens/some-id"),
    ("POST", "/api/tokens/revoke"),
    ("POST", "/api/tokens/expire"),
    ("GET", "/api/providers"),
    ("POST", "/api/providers"),
    ("GET", "/api/providers/some-name"),
    ("DELETE", "/api/providers/some-name"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/accounts"),
]
STRANGERS: Final = [
    (PeerKind.NETWORK, b"X-Nothing: 1", ""),
    (PeerKind.LOOPBACK, b"X-Forwarded-For: 192.0.2.1", ""),
    (PeerKind.LOOPBACK, b"Forwarded: for=192.0.2.1", ""),
    (PeerKind.LOOPBACK, b"Via: 1.1 proxy", ""),
    (PeerKind.LOOPBACK, b"X-Nothing: 1", "the-admin-key"),
    (PeerKind.LOOPBACK, b"Authorization: Bearer the-admin-ke", "the-admin-key"),
    (PeerKind.LOOPBACK, b"Authorization: Basic the-admin-key", "the-admin-key"),
    (PeerKind.LOOPBACK, b"X-Api-Key: the-admin-key", "the-admin-key"),
]


@pytest.mark.parametrize(("method", "path"), ADMINISTRATION)
@pytest.mark.parametrize(("kind", "header", "key"), STRANGERS)
def test_administration_is_closed_to_strangers(
    method: str, path: str, kind: PeerKind, header: bytes, key: str, scene_with: OpenScene
) -> None:
    scene = scene_with(TOKEN_ADMIN_KEY=key)
    client = Client(scene, scene.shell.client(Peer(kind, "stranger")))
    scene.orders()
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n".encode()
    line, headers = client.sends(request + header + b"\r\n\r\n").head()
    assert line.split()[1] == b"401"
    assert (b"www-authenticate", b"Bearer") in headers
    assert scene.orders(LoadFiles, UpdateFiles) == []


@pytest.mark.parametrize(("method", "path"), ADMINISTRATION)
def test_administration_is_open_to_the_holder_of_the_admin_key_wherever_he_is(
    method: str, path: str, scene_with: OpenScene
) -> None:
    scene = scene_with(TOKEN_ADMIN_KEY="the-admin-key")
    client = Client(scene, scene.shell.client(Peer(PeerKind.NETWORK, "office")))
    key = b"authorization: bearer the-admin-key\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    line, _ = client.sends(f"{method} {path} HTTP/1.1\r\nHost: router.test\r\n".encode() + key).head()
    assert line.split()[1] in (b"200", b"400", b"404")


def test_a_holder_of_a_token_is_no_administrator(scene_with: OpenScene) -> None:
    scene = scene_with(TOKEN_ADMIN_KEY="the-admin-key")
    scene.client().gets(b"/api/tokens/list", b"Authorization: Bearer " + scene.token).saw(401)


# --- with files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def keeping(scene_with: OpenScene) -> Operator:
    """Of a router that keeps its tokens in both files."""
    return Operator(scene_with(STORAGE_POLICY="both"))


def test_a_token_is_in_the_files_before_it_is_shown(keeping: Operator) -> None:
    shell = keeping.scene.shell
    shell.disk_hangs = True
    client = asks(keeping.scene, b'{"label": "alice"}')
    client.saw_nothing()
    assert keeping.file(LINO) == b""
    shell.reads()
    issued = json.loads(client.response()[2])
    assert issued["id"].encode() in keeping.file(LINO)
    assert b'(label "alice")' in keeping.file(LINO)
    assert keeping.file(BINARY).startswith(b"LARTOK01")
    signature = issued["token"].split(".")[2].encode()
    assert all(isinstance(content, bytes) and signature not in content for content in shell.files.values())


def test_a_token_that_cannot_be_recorded_is_not_issued(keeping: Operator) -> None:
    shell = keeping.scene.shell
    shell.disk.read_only |= {LINO}
    error = keeping.post("/api/tokens", {"label": "lost"}, 503)
    assert (error["error"]["type"], list(error)) == ("api_error", ["type", "error", "request_id"])
    shell.disk.read_only.clear()
    keeping.scene.passes(60)
    assert keeping.get("/api/tokens/list") == {"data": []}


def test_a_revocation_that_cannot_be_written_holds_here_and_is_written_later(keeping: Operator) -> None:
    scene, issued = keeping.scene, keeping.issue()
    scene.shell.disk.read_only |= {LINO}
    keeping.post("/api/tokens/revoke", {"id": issued["id"]}, 503)
    scene.client().sends(post(issued["token"].encode())).saw(403)
    scene.passes(60)
    assert b"(revoked true)" not in keeping.file(LINO)
    assert len(scene.logs("cannot be written")) == 1
    scene.shell.disk.read_only.clear()
    scene.passes(10)
    assert b"(revoked true)" in keeping.file(LINO)


def test_a_token_of_another_process_is_known_when_it_is_asked_for(keeping: Operator, scene_with: OpenScene) -> None:
    other = Operator(scene_with(beside=keeping.scene, STORAGE_POLICY="both"))
    for verb in ("revoke", "expire"):
        issued = other.issue(label=verb)
        keeping.post(f"/api/tokens/{verb}", {"id": issued["id"]})
    issued = other.issue(label="shown")
    assert keeping.get(f"/api/tokens/{issued['id']}")["label"] == "shown"
    labels = [record["label"] for record in keeping.get("/api/tokens/list")["data"]]
    assert sorted(labels) == ["expire", "revoke", "shown"]


def test_files_that_make_no_sense_any_more_are_told_of_and_left_alone(keeping: Operator) -> None:
    scene, issued = keeping.scene, keeping.issue()
    damaged = keeping.file(LINO) + b"(token\n"
    scene.shell.files[LINO] = damaged
    for path in ("/api/tokens/list", f"/api/tokens/{issued['id']}"):
        keeping.get(path, 503)
    keeping.post("/api/tokens", {}, 503)
    keeping.post("/api/tokens/revoke", {"id": issued["id"]}, 503)
    scene.passes(60)
    assert keeping.file(LINO) == damaged
    assert len(scene.logs("tokens.lino, line 4")) == 1
    scene.client().sends(post(issued["token"].encode())).saw(403)
