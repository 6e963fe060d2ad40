"""What the router keeps: tokens and usage that survive it and are shared, a log of who changed what, and their end."""

import json

import pytest

from protocol.commands import AppendFile, Drained, LoadFiles, LogLevel, UpdateFiles
from protocol.files import CorruptFile, FileContent
from protocol.gateway import LAST_SECONDS
from protocol.identity.token_files import saving
from protocol.identity.token_record import revocation
from protocol.identity.token_usage import FLUSH_SECONDS, read_usage
from tests.protocol.conftest import OpenScene
from tests.support.operator import AUDIT, BINARY, LINO, PROVIDERS, USAGE, Operator
from tests.support.requests import EVENT, LAST_CHUNK, STREAM_HEAD, chunk, get, post, reply
from tests.support.scene import CREDENTIAL_FILE, EXPIRED, Scene
from transports.memory import EPOCH

ANSWER = b'{"type":"message","usage":{"input_tokens":7,"output_tokens":5}}'
OWN_ID = "00000000-0000-4000-8000-000000000000"
"""Of the scene's own token, which has no record."""


@pytest.fixture
def operator(scene_with: OpenScene) -> Operator:
    """Of a router that keeps its tokens in both files."""
    return Operator(scene_with(STORAGE_POLICY="both"))


def beside(operator: Operator, scene_with: OpenScene) -> Operator:
    """Of another router on the same disk."""
    return Operator(scene_with(beside=operator.scene, STORAGE_POLICY="both"))


def uses(operator: Operator, token: bytes) -> None:
    client = operator.scene.client().sends(post(token))
    operator.scene.upstream().sends(reply(ANSWER, b"200 OK", b"Connection: close"))
    client.saw(200)


def is_let_in(operator: Operator, token: bytes) -> bool:
    """Whether a token may list models; the list is the router's own."""
    status, _, _ = operator.scene.client().gets(b"/v1/models", b"X-Api-Key: " + token).response()
    assert status in (200, 401, 403)
    return status == 200


def saved(operator: Operator) -> dict[str, tuple[int, int]]:
    """Requests and tokens by token, as the file has them."""
    usage = read_usage([(USAGE, operator.file(USAGE))])
    return {token_id: (used.requests, used.tokens) for token_id, used in usage.items()}


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "written"), [("both", {LINO, BINARY}), ("text", {LINO}), ("binary", {BINARY}), ("memory", set())]
)
def test_each_policy_keeps_what_it_says_and_the_next_run_finds_it(
    policy: str, written: set[str], scene_with: OpenScene
) -> None:
    first = Operator(scene_with(STORAGE_POLICY=policy))
    limits = {"max_requests": 3, "requests_per_minute": 2, "token_budget": 1000, "models": ["claude-*"]}
    issued = first.issue(label="Zoë \U0001f511", account="primary", **limits)
    revoked = first.issue(label="gone")
    first.revoke(revoked["id"])
    assert {path for path in (LINO, BINARY) if path in first.scene.shell.files} == written
    records = first.get("/api/tokens/list")
    first.scene.drains()
    second = Operator(scene_with(beside=first.scene, STORAGE_POLICY=policy))
    assert second.get("/api/tokens/list") == (records if written else {"data": []})
    assert is_let_in(second, issued["token"].encode()) is bool(written), "limits are in the record alone"
    assert is_let_in(second, revoked["token"].encode()) == (not written)


def test_a_memory_policy_writes_no_file_at_all(scene: Scene) -> None:
    operator, before = Operator(scene), set(scene.shell.files)
    issued = operator.issue(label="alice", max_requests=9)
    uses(operator, issued["token"].encode())
    operator.get("/api/tokens/list")
    operator.revoke(issued["id"])
    operator.post("/api/tokens/expire", {"id": issued["id"]})
    operator.post("/api/tokens", {"ttl_hours": 0}, 400)
    scene.passes(3600)
    scene.drains()
    assert scene.stopped()
    assert set(scene.shell.files) == before
    assert scene.orders(UpdateFiles, AppendFile) == []


def test_a_file_that_makes_no_sense_stops_the_start_and_is_left_alone() -> None:
    for path, content in ((LINO, b"(token x\n"), (BINARY, b"LARTOK99"), (USAGE, b"[]"), (PROVIDERS, b"PROVIDER: {\n")):
        files: dict[str, FileContent] = {path: content}
        with pytest.raises(CorruptFile, match=path):
            Scene(None, files, STORAGE_POLICY="both")
        assert files == {path: content}


def test_a_revocation_of_another_router_holds_within_a_second(operator: Operator, scene_with: OpenScene) -> None:
    other = beside(operator, scene_with)
    token = operator.issue()
    other.scene.passes(0.6)
    assert is_let_in(other, token["token"].encode())
    operator.revoke(token["id"])
    other.scene.passes(1)
    assert not is_let_in(other, token["token"].encode())


def test_a_revocation_holds_for_a_token_that_was_never_recorded(operator: Operator, scene_with: OpenScene) -> None:
    assert is_let_in(operator, operator.scene.token)
    revoke_behind(operator, OWN_ID)
    operator.scene.passes(1)
    assert not is_let_in(operator, operator.scene.token)
    assert not is_let_in(beside(operator, scene_with), operator.scene.token)


def revoke_behind(operator: Operator, token_id: str) -> None:
    """Another process revokes a token in the files."""
    change = saving([revocation(token_id)], EPOCH)
    operator.scene.shell.files.update(change([(path, operator.file(path)) for path in (LINO, BINARY)]))


@pytest.mark.parametrize("restored", [[LINO], [BINARY], [LINO, BINARY]])
def test_a_revocation_is_not_undone_by_older_files(
    restored: list[str], operator: Operator, scene_with: OpenScene
) -> None:
    issued = operator.issue()
    before = {path: operator.file(path) for path in restored}
    operator.revoke(issued["id"])
    operator.scene.shell.files.update(before)
    operator.scene.passes(2)
    assert not is_let_in(operator, issued["token"].encode())
    assert not is_let_in(beside(operator, scene_with), issued["token"].encode())


def test_files_that_are_gone_are_written_again(operator: Operator) -> None:
    issued = operator.issue(label="alice")
    for path in (LINO, BINARY):
        del operator.scene.shell.files[path]
    operator.scene.passes(2)
    assert issued["id"].encode() in operator.file(LINO)
    assert operator.file(BINARY).startswith(b"LARTOK01")


def test_records_go_as_long_after_their_tokens_as_the_operator_says(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY="both", TOKEN_KEEP_DAYS="0"))  # an hour is kept all the same
    operator.issue(label="short", ttl_hours=0.1)
    operator.issue(label="long", ttl_hours=100)
    operator.scene.passes(1.1 * 3600 - 10)
    assert len(operator.get("/api/tokens/list")["data"]) == 2
    operator.scene.passes(20)
    operator.issue(label="new", ttl_hours=1)
    assert [record["label"] for record in operator.get("/api/tokens/list")["data"]] == ["long", "new"]
    assert b"short" not in operator.file(LINO) + operator.file(BINARY)


# --- usage ------------------------------------------------------------------------------------------------------------


def test_usage_is_saved_after_a_few_seconds(operator: Operator) -> None:
    token = operator.issue()
    for _ in range(3):
        uses(operator, token["token"].encode())
    operator.scene.passes(FLUSH_SECONDS - 1)
    assert USAGE not in operator.scene.shell.files
    operator.scene.passes(1)
    assert saved(operator) == {token["id"]: (3, 36)}


def test_two_routers_add_up_what_a_token_has_used(operator: Operator, scene_with: OpenScene) -> None:
    token = operator.issue(max_requests=4)
    other = beside(operator, scene_with)
    for router, requests in ((operator, 1), (other, 2)):
        for _ in range(requests):
            uses(router, token["token"].encode())
        router.scene.passes(FLUSH_SECONDS)
    assert saved(operator) == {token["id"]: (3, 36)}
    assert other.get(f"/api/tokens/{token['id']}")["used_requests"] == 3
    uses(other, token["token"].encode())
    other.scene.client().sends(post(token["token"].encode())).saw(429)
    other.scene.passes(FLUSH_SECONDS)
    assert saved(operator) == {token["id"]: (4, 48)}


def test_the_next_run_knows_what_was_used(operator: Operator, scene_with: OpenScene) -> None:
    token = operator.issue(max_requests=2)
    uses(operator, token["token"].encode())
    operator.scene.drains()
    later = beside(operator, scene_with)
    assert later.get(f"/api/tokens/{token['id']}")["used_requests"] == 1
    uses(later, token["token"].encode())
    later.scene.client().sends(post(token["token"].encode())).saw(429)


# --- the audit log ----------------------------------------------------------------------------------------------------


def test_every_change_and_every_attempt_of_an_operator_is_in_the_audit_log(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY="both"))
    issued = operator.issue(label="alice")
    operator.post("/api/tokens", {"ttl_hours": 0}, 400)
    operator.post("/api/tokens/revoke", {"id": "nobody"}, 404)
    operator.asks("POST", "/api/tokens/revoke", {"id": issued["id"]}, b"X-Forwarded-For: 192.0.2.1").saw(401)
    operator.scene.passes(2.5)
    operator.revoke(issued["id"])
    operator.post("/api/tokens/expire", {"id": issued["id"]})
    entries = operator.audit()
    assert [(entry["path"], entry["status"]) for entry in entries] == [
        ("/api/tokens", 200),
        ("/api/tokens", 400),
        ("/api/tokens/revoke", 404),
        ("/api/tokens/revoke", 200),
        ("/api/tokens/expire", 200),
    ]
    first, *_, revoked, expired = entries
    assert first == {
        "time": EPOCH,
        "method": "POST",
        "path": "/api/tokens",
        "status": 200,
        "peer": "memory",
        "request": operator.scene.requests()[0]["request"],
        "issued": issued["id"],
    }
    assert (revoked["time"], revoked["revoked"], expired["expired"]) == (EPOCH + 2.5, issued["id"], issued["id"])
    assert all("error" in entry for entry in entries[1:3])


def test_the_audit_log_has_no_reading_and_no_traffic_in_it(operator: Operator) -> None:
    token = operator.issue()["token"].encode()
    before = operator.file(AUDIT)
    operator.get("/api/tokens/list")
    operator.get("/api/providers")
    operator.get("/v1/usage")
    for path in (b"/v1/messages", b"/api/latest/anthropic/v1/messages"):
        client = operator.scene.client().sends(post(token, path=path))
        operator.scene.upstream().sends(reply(ANSWER, b"200 OK", b"Connection: close"))
        client.saw(200)
    operator.scene.client().sends(post(b"la_sk_wrong", path=b"/api/latest/anthropic/v1/messages")).saw(401)
    assert operator.file(AUDIT) == before


def test_nothing_secret_is_in_any_file_or_log(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY="both", TOKEN_ADMIN_KEY="the-admin-key"))
    key = b"Authorization: Bearer the-admin-key"
    _, _, body = operator.asks("POST", "/api/tokens", {"label": "x"}, key).response()
    token = json.loads(body)["token"]
    operator.asks("POST", "/api/tokens/revoke", {"id": token}, key).saw(404)
    operator.asks("POST", "/api/tokens", {"label": "x"}, b"Authorization: Bearer a-wrong-key").saw(401)
    operator.asks("POST", "/api/tokens", b'{"label": sk-hunter2}', key).saw(400)
    uses(operator, token.encode())
    operator.scene.passes(10)
    shell = operator.scene.shell
    kept = {path: content for path, content in shell.files.items() if path != CREDENTIAL_FILE}
    assert len(operator.audit()) == 3
    for secret in (token.split(".")[2], "the-admin-key", "a-wrong-key", "hunter2"):
        assert secret not in repr(kept)
        assert secret not in repr(shell.logs)


def test_an_audit_log_that_cannot_be_written_is_told_of(operator: Operator) -> None:
    operator.scene.shell.disk.read_only |= {AUDIT}
    operator.issue()
    (log,) = operator.scene.logs("the audit log lacks lines")
    assert (log.level, "Read-only file system" in str(log.fields["reason"])) == (LogLevel.WARN, True)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_drain_saves_what_was_counted_before_it_ends(operator: Operator) -> None:
    token = operator.issue()
    uses(operator, token["token"].encode())
    operator.scene.drains()
    assert operator.scene.stopped()
    assert saved(operator) == {token["id"]: (1, 12)}
    operator.scene.assert_empty()


def test_a_drain_waits_for_what_is_being_written(operator: Operator) -> None:
    scene, token = operator.scene, operator.issue()
    uses(operator, token["token"].encode())
    scene.shell.disk_hangs = True
    client = operator.asks("POST", "/api/tokens/revoke", {"id": token["id"]})
    client.leaves()
    scene.drains()
    assert not scene.stopped()
    scene.shell.reads()
    assert scene.stopped()
    assert (saved(operator)[token["id"]], b"(revoked true)" in operator.file(LINO)) == ((1, 12), True)
    assert operator.audit()[-1]["revoked"] == token["id"]
    scene.assert_empty()


def test_a_disk_that_hangs_does_not_keep_a_router_beyond_its_grace(operator: Operator) -> None:
    uses(operator, operator.issue()["token"].encode())
    operator.scene.shell.disk_hangs = True
    operator.scene.drains(30)
    operator.scene.passes(29)
    assert not operator.scene.stopped()
    operator.scene.passes(1 + LAST_SECONDS)
    assert operator.scene.stopped()


def test_usage_that_cannot_be_saved_at_the_end_is_tried_once_and_told_of(operator: Operator) -> None:
    uses(operator, operator.issue()["token"].encode())
    operator.scene.shell.disk.read_only |= {USAGE}
    operator.scene.drains()
    assert operator.scene.stopped()
    assert len(operator.scene.logs("token usage cannot be saved")) == 1
    assert operator.scene.shell.gateway.deadline() is None


def test_what_is_used_while_the_router_drains_is_saved_too(operator: Operator) -> None:
    scene, token = operator.scene, operator.issue()
    client = scene.client().sends(post(token["token"].encode()))
    scene.drains()
    scene.passes(5)
    scene.upstream().replies(ANSWER)
    client.saw(200)
    assert scene.stopped()
    assert saved(operator) == {token["id"]: (1, 12)}


def test_a_token_that_is_revoked_while_the_router_drains_is_refused(operator: Operator) -> None:
    scene = operator.scene
    kept = scene.client()
    kept.gets(b"/v1/models", b"X-Api-Key: " + scene.token).saw(200)
    running = scene.client().sends(post(scene.token))
    scene.drains()
    revoke_behind(operator, OWN_ID)
    scene.passes(1)
    kept.gets(b"/v1/models", b"X-Api-Key: " + scene.token).saw(403)
    scene.upstream().replies(ANSWER)
    running.saw(200)


def test_a_router_that_has_ended_looks_at_nothing_any_more(operator: Operator) -> None:
    scene = operator.scene
    scene.passes(3)
    assert len(scene.orders(LoadFiles)) > 5
    scene.drains()
    assert scene.stopped()
    assert scene.shell.gateway.deadline() is None
    scene.orders()
    scene.passes(60)
    assert scene.orders() == []


def test_a_look_that_is_under_way_does_not_keep_a_router(operator: Operator) -> None:
    scene = operator.scene
    scene.shell.disk_hangs = True
    scene.passes(1)
    scene.drains()
    assert len(scene.orders(Drained)) == 1
    scene.shell.reads()
    scene.passes(10)
    assert scene.orders(LoadFiles, UpdateFiles, Drained) == []


# --- request ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01", 400),
        (get(b"/nowhere"), 404),
        (get(b"/metrics"), 200),
        (get(b"/v1/messages"), 401),
        (post(b"", b"{}", b"/api/tokens"), 401),
        (post(b"la_sk_wrong", path=b"/v1/chat/completions"), 401),
        (get(b"/api/tokens/nobody"), 404),
        (get(b"/v1/usage"), 200),
    ],
)
def test_every_answer_of_the_router_has_an_id_that_is_in_the_log(
    request_: bytes, status: int, operator: Operator
) -> None:
    seen, headers, _ = operator.scene.client().sends(request_).response()
    assert seen == status
    assert headers[b"x-router-request-id"].decode() == operator.scene.requests()[-1]["request"]


def test_every_answer_of_an_upstream_has_an_id_that_is_in_the_log(operator: Operator) -> None:
    for answer in (reply(ANSWER), reply(b"{}", b"429 Too Many Requests"), STREAM_HEAD + chunk(EVENT) + LAST_CHUNK):
        client = operator.scene.client().posts()
        upstream = operator.scene.upstream().sends(answer)
        fields = dict(client.head()[1])
        upstream.leaves()
        assert fields[b"x-router-request-id"].decode() == operator.scene.requests()[-1]["request"]


def test_a_refusal_by_a_limit_has_one_too(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(EXPIRED))
    token = operator.issue(models=["claude-haiku-*"])["token"].encode()
    status, headers, body = operator.scene.client().sends(post(token)).response()
    line = operator.scene.requests()[-1]
    assert (status, headers[b"x-router-request-id"].decode()) == (403, line["request"])
    assert json.loads(body)["request_id"] == line["request"]
    assert (line["status"], "may not be used" in str(line["error"])) == (403, True)
