"""The admin API of a router on real sockets, in the shapes that operators' scripts know."""

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.practice import PracticeUpstream
from protocol.identity.tokens import TokenVerifier
from protocol.values import Secret
from tests.cli.support import SECRET
from tests.live.administration import ask, ask_json, issue, metrics, use
from tests.live.routers import PATIENCE, RouterProcess

pytestmark = pytest.mark.slow

ADMIN_KEY = "an-admin-key-of-some-length"
LITELLM = {
    "name": "litellm",
    "kind": "openai-compatible",
    "base_url": "http://litellm:4000/v1",
    "default_model": "claude-sonnet",
    "models": ["claude-sonnet", "gpt-4o"],
    "api_key_env": "LITELLM_MASTER_KEY",
}


@pytest.fixture(scope="module")
def data(loop: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the router keeps its files."""
    return tmp_path_factory.mktemp(loop) / "data"


@pytest.fixture(scope="module")
def process(loop: str, upstream: PracticeUpstream, data: Path) -> Iterator[RouterProcess]:
    with RouterProcess(loop, data.parent, upstream.origin, DATA_DIR=str(data)) as running:
        yield running


def test_a_token_is_issued_in_the_shape_that_scripts_read(process: RouterProcess) -> None:
    wanted = {"ttl_hours": 24, "label": "my-dev-token"}
    issued: dict[str, Any] = ask_json(process.address, "POST", "/api/tokens", wanted)
    assert issued.items() >= wanted.items()
    assert issued["token"].startswith("la_sk_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.")
    claims = TokenVerifier(Secret(SECRET)).verify(issued["token"].encode(), 0.0)
    assert (claims.sub, claims.exp - claims.iat, claims.label) == (issued["id"], 86_400, "my-dev-token")
    assert use(process.address, issued["token"]) == 200
    assert ask_json(process.address, "POST", "/api/tokens/revoke", {"id": issued["id"]}) == {"revoked": issued["id"]}
    assert use(process.address, issued["token"]) == 403


def test_an_expired_token_is_refused_as_one_that_ran_out(process: RouterProcess) -> None:
    token_id, token = issue(process.address)
    assert ask_json(process.address, "POST", "/api/tokens/expire", {"id": token_id}) == {"expired": token_id}
    status, body = ask(process.address, "POST", "/v1/messages", {}, x_api_key=token)
    assert (status, json.loads(body)["error"]["message"]) == (401, "Token has expired")


def test_providers_are_kept_in_the_shape_that_scripts_send(process: RouterProcess) -> None:
    told = {**LITELLM, "has_encrypted_api_key": False, "enabled": True}
    assert ask_json(process.address, "POST", "/api/providers", LITELLM) == told
    assert told in ask_json(process.address, "GET", "/api/providers")["data"]
    assert ask_json(process.address, "GET", "/api/providers/litellm") == told
    assert ask_json(process.address, "DELETE", "/api/providers/litellm") == {"deleted": "litellm"}
    status, body = ask(process.address, "DELETE", "/api/providers/litellm")
    assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip", "via", "origin"])
def test_a_request_that_somebody_handed_on_may_not_administer(header: str, process: RouterProcess) -> None:
    for method, path in (("POST", "/api/tokens"), ("GET", "/api/tokens/list"), ("GET", "/v1/usage")):
        content = b"{}" if method == "POST" else None
        assert ask(process.address, method, path, content, **{header: "192.0.2.1"})[0] == 401


def test_what_is_kept_is_readable_by_the_operator_alone(process: RouterProcess, data: Path) -> None:
    token_id, token = issue(process.address, label="kept")
    ask_json(process.address, "POST", "/api/providers", {**LITELLM, "name": "kept"})
    *_, issued, stored = audited(data / "audit.jsonl", b'"provider":"kept"')
    assert (issued["path"], issued["issued"], issued["status"]) == ("/api/tokens", token_id, 200)
    assert (stored["path"], stored["provider"], stored["base_url"]) == (
        "/api/providers",
        "kept",
        LITELLM["base_url"],
    )
    for name in ("tokens.lino", "tokens.bin", "providers.lenv", "audit.jsonl"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert token.rpartition(".")[2].encode() not in b"".join(path.read_bytes() for path in data.iterdir())


def audited(log: Path, words: bytes) -> list[Any]:
    """All entries up to the one with these words, which may still be on its way to the disk when the answer is here."""
    until = time.monotonic() + PATIENCE
    while words not in log.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.01)
    return [json.loads(line) for line in log.read_bytes().splitlines()]


def test_counters_are_what_the_official_clients_were_billed(process: RouterProcess) -> None:
    before = metrics(process.address)
    _, token = issue(process.address)
    texts = [("hello", False), ("hello\n/size 40", True), ("hello\n/error 529", False), ("hello\n/error 400", True)]
    statuses = [use(process.address, token, text, stream=stream) for text, stream in texts]
    assert statuses == [200, 200, 529, 400]
    assert ask(process.address, "GET", "/nowhere")[0] == 404
    after = metrics(process.address)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    expected = {
        "requests_total": 7,
        "errors_total": 3,
        "anthropic_messages_total": 4,
        "tokens_issued_total": 1,
        "upstream_attempts_total": 4,
        "answers_without_usage_total": 0,
        "status_total 404": 1,
        "status_total 529": 1,
    }
    assert {name: grown[name] for name in expected} == expected
    usage = ask_json(process.address, "GET", "/v1/usage")
    (used,) = [counts for counts in usage["tokens"].values() if counts["requests"] == 4]
    assert grown["output_tokens_total"] == used["output_tokens"] > 40
    assert grown["input_tokens_total"] == used["input_tokens"] > 0


def test_with_an_admin_key_the_operator_may_be_anywhere(upstream: PracticeUpstream, tmp_path: Path) -> None:
    key = {"authorization": f"Bearer {ADMIN_KEY}", "x_forwarded_for": "192.0.2.1"}
    with RouterProcess("asyncio", tmp_path, upstream.origin, TOKEN_ADMIN_KEY=ADMIN_KEY) as router:
        assert ask(router.address, "POST", "/api/tokens", {})[0] == 401
        assert ask(router.address, "GET", "/api/tokens/list", authorization="Bearer guessed")[0] == 401
        token_id = ask_json(router.address, "POST", "/api/tokens", {"label": "far"}, **key)["id"]
        (record,) = ask_json(router.address, "GET", "/api/tokens/list", **key)["data"]
        assert (record["id"], record["label"]) == (token_id, "far")
    assert ADMIN_KEY.encode() not in router.output


def test_a_memory_policy_leaves_no_file(upstream: PracticeUpstream, tmp_path: Path) -> None:
    settings = {"STORAGE_POLICY": "memory", "DATA_DIR": str(tmp_path / "data")}
    with RouterProcess("trio", tmp_path, upstream.origin, **settings) as router:
        token_id, token = issue(router.address)
        assert use(router.address, token) == 200
        ask_json(router.address, "POST", "/api/tokens/revoke", {"id": token_id})
        router.send_signal(signal.SIGTERM)
        assert router.exit_code() == 0
    assert not (tmp_path / "data").exists()
