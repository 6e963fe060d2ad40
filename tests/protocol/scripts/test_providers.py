"""``/api/providers``: what the operator says of providers is kept, told back, and never with a key in it."""

import json
from typing import Any, Final

import pytest

from protocol.identity.providers import read_store
from protocol.identity.sealing import Sealer
from protocol.values import Secret
from tests.protocol.conftest import OpenScene
from tests.support.operator import AUDIT, PROVIDERS, Operator
from tests.support.scene import Scene
from tests.support.stage import TOKEN_SECRET

LITELLM: Final[dict[str, Any]] = {
    "name": "litellm",
    "kind": "openai-compatible",
    "base_url": "http://litellm:4000/v1",
    "default_model": "claude-sonnet",
    "models": ["claude-sonnet", "gpt-4o"],
    "api_key_env": "LITELLM_MASTER_KEY",
}
TOLD: Final = {**LITELLM, "has_encrypted_api_key": False, "enabled": True}
KEY: Final = "sk-hunter2"


@pytest.fixture
def operator(scene: Scene) -> Operator:
    return Operator(scene)


def opened(operator: Operator, name: str) -> Secret | None:
    """The stored key of a provider."""
    record = read_store(PROVIDERS, operator.file(PROVIDERS))[name]
    if record.encrypted_api_key is None:
        return None
    return Sealer(Secret(TOKEN_SECRET)).open(record.encrypted_api_key, name, str(record.base_url))


def test_a_provider_is_stored_listed_shown_and_deleted(operator: Operator) -> None:
    assert operator.get("/api/providers") == {"data": []}
    assert operator.post("/api/providers", LITELLM) == TOLD
    other = operator.post("/api/providers", {"name": "alpha", "base_url": "https://alpha.example/v1/"})
    assert other["base_url"] == "https://alpha.example/v1"
    assert operator.get("/api/providers") == {"data": [other, TOLD]}
    assert operator.get("/api/providers/litellm") == TOLD
    assert operator.delete("/api/providers/litellm") == {"deleted": "litellm"}
    assert operator.get("/api/providers") == {"data": [other]}


def test_a_provider_replaces_the_one_of_its_name(operator: Operator) -> None:
    operator.post("/api/providers", LITELLM)
    operator.post("/api/providers", {"name": "litellm", "base_url": LITELLM["base_url"], "enabled": False})
    record = operator.get("/api/providers/litellm")
    assert (record["enabled"], "default_model" in record, record["api_key_env"]) == (
        False,
        False,
        "LITELLM_MASTER_KEY",
    )


def test_a_key_is_sealed_and_never_shown(operator: Operator) -> None:
    told = operator.post("/api/providers", {"name": "a", "base_url": "http://a", "api_key": KEY})
    assert told["has_encrypted_api_key"] is True
    assert opened(operator, "a") == Secret(KEY)
    shown = json.dumps([told, operator.get("/api/providers"), operator.get("/api/providers/a")])
    files = b"".join(content for content in operator.scene.shell.files.values() if isinstance(content, bytes))
    assert KEY not in shown + files.decode() + repr(operator.scene.shell.logs)
    assert "aes256gcm" not in shown


def test_a_key_does_not_follow_a_provider_to_another_place(operator: Operator) -> None:
    operator.post("/api/providers", {"name": "a", "base_url": "http://a", "api_key": KEY})
    error = operator.post("/api/providers", {"name": "a", "base_url": "http://b"}, 400)["error"]
    assert (error["type"], "give api_key" in error["message"]) == ("invalid_request_error", True)
    assert operator.get("/api/providers/a")["base_url"] == "http://a"
    assert operator.post("/api/providers", {"name": "a", "base_url": "http://a"})["has_encrypted_api_key"]
    assert opened(operator, "a") == Secret(KEY)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "a"},
        {"name": "a b", "base_url": "http://a"},
        {"name": "a", "base_url": "ftp://a"},
        {"name": "a", "base_url": "http://169.254.169.254/v1"},
        {"name": "a", "base_url": "http://a", "kind": "unheard-of"},
        {"name": "a", "base_url": "http://a", "encrypted_api_key": "aes256gcm:AAAA"},
        {"name": "a", "base_url": "http://a", "api_key_env": "TOKEN_SECRET"},
        {"name": "a", "base_url": "http://a", "colour": "red"},
        [],
        b'{"name": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ],
)
def test_what_is_no_provider_is_a_400_and_not_stored(fields: object, operator: Operator) -> None:
    assert operator.post("/api/providers", fields, 400)["error"]["type"] == "invalid_request_error"
    assert operator.get("/api/providers") == {"data": []}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_provider_that_is_not_there_is_a_404(method: str, operator: Operator) -> None:
    ask = operator.get if method == "GET" else operator.delete
    error = ask("/api/providers/nobody", 404)["error"]
    assert (error["type"], error["message"]) == ("not_found_error", "provider not found")


def test_what_another_process_stores_is_seen_at_once(operator: Operator, scene_with: OpenScene) -> None:
    other = Operator(scene_with(beside=operator.scene))
    other.post("/api/providers", LITELLM)
    assert operator.get("/api/providers/litellm") == TOLD
    other.delete("/api/providers/litellm")
    operator.delete("/api/providers/litellm", 404)


def test_a_store_that_cannot_be_written_is_a_503(operator: Operator) -> None:
    operator.scene.shell.disk.read_only |= {PROVIDERS}
    operator.post("/api/providers", LITELLM, 503)
    assert operator.get("/api/providers") == {"data": []}
    assert len(operator.scene.logs("providers.lenv cannot be written")) == 1


def test_a_store_that_makes_no_sense_is_a_503_and_stays_as_it_is(operator: Operator) -> None:
    operator.post("/api/providers", LITELLM)
    damaged = operator.file(PROVIDERS) + b"PROVIDER: {\n"
    operator.scene.shell.files[PROVIDERS] = damaged
    operator.get("/api/providers", 503)
    operator.post("/api/providers", {"name": "a", "base_url": "http://a"}, 503)
    operator.delete("/api/providers/litellm", 503)
    assert operator.file(PROVIDERS) == damaged
    assert len(operator.scene.logs("providers.lenv, line 4")) == 1


def test_each_change_is_in_the_audit_log_with_where_keys_will_go(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(STORAGE_POLICY="text"))
    operator.post("/api/providers", {"name": "a", "base_url": "http://a/v1", "api_key": KEY})
    operator.delete("/api/providers/a")
    operator.get("/api/providers")
    stored, deleted = operator.audit()
    assert (stored["method"], stored["path"], stored["status"]) == ("POST", "/api/providers", 200)
    assert (stored["provider"], stored["base_url"]) == ("a", "http://a/v1")
    assert (deleted["method"], deleted["path"], deleted["provider"]) == ("DELETE", "/api/providers/{id}", "a")
    assert KEY.encode() not in operator.file(AUDIT)
