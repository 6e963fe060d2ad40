"""The HTTP parts of the original's README, line by line: whoever has its commands in a script can keep them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from tests.live.routers import RouterProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the README's commands need curl, jq"),
]

SECRET = "your-secure-secret-here"
README_PORT = "localhost:8080"

HEALTH = "curl -s http://localhost:8080/health"

ISSUE = """\
curl -s -X POST http://localhost:8080/api/tokens \\
  -H "Content-Type: application/json" \\
  -d '{"ttl_hours": 24, "label": "my-dev-token"}' | jq ."""

ISSUE_FOR_ALICE = """\
curl -s -X POST http://localhost:8080/api/tokens \\
  -H "Content-Type: application/json" \\
  -d '{"ttl_hours": 168, "label": "alice"}' | jq -r '.token'"""

MESSAGE = """\
curl -s http://localhost:8080/api/latest/anthropic/v1/messages \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -H "anthropic-version: 2023-06-01" \\
  -d '{
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello!"}]
  }' | jq ."""

WITHOUT_TOKEN = "curl -s http://localhost:8080/api/latest/anthropic/v1/messages | jq ."

WITH_A_WRONG_TOKEN = """\
curl -s http://localhost:8080/api/latest/anthropic/v1/messages \\
  -H "Authorization: Bearer la_sk_invalid" | jq ."""

PROVIDER = """{
  "name": "litellm",
  "kind": "openai-compatible",
  "base_url": "http://litellm:4000/v1",
  "default_model": "claude-sonnet",
  "models": ["claude-sonnet", "gpt-4o"],
  "api_key_env": "LITELLM_MASTER_KEY"
}"""


class Reader:
    """Somebody who types in what the README says, at the machine of a router."""

    def __init__(self, router: RouterProcess) -> None:
        self.router = router

    def types(self, command: str, **variables: str) -> str:
        """What a command prints; the port is the router's own."""
        script = command.replace(README_PORT, self.router.address.replace("127.0.0.1", "localhost"))
        bash = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(
            bash, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, timeout=30, check=True, text=True
        ).stdout.strip()

    def reads(self, command: str, **variables: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.types(command, **variables))


@pytest.fixture(scope="module")
def reader(upstream: PracticeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("readme")
    with RouterProcess("trio", folder, upstream.origin, **settings(folder, PRACTICE_TOKEN)) as router:
        yield Reader(router)


def settings(folder: Path, credential: str) -> dict[str, str]:
    """What the README exports, with a credential file as it makes one."""
    (folder / "test-claude").mkdir()
    (folder / "test-claude" / "credentials.json").write_text(json.dumps({"accessToken": credential}))
    return {"TOKEN_SECRET": SECRET, "CLAUDE_CODE_HOME": str(folder / "test-claude")}


def test_quick_start(reader: Reader) -> None:
    issued = reader.reads(ISSUE)
    assert issued["token"].startswith("la_sk_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.")
    assert (issued["ttl_hours"], issued["label"]) == (24, "my-dev-token")
    answer = reader.reads(MESSAGE, TOKEN=issued["token"])
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "claude-sonnet-4-20250514")
    assert reader.types(ISSUE_FOR_ALICE).startswith("la_sk_")


def test_a_header_of_either_name_carries_the_token(reader: Reader) -> None:
    token = reader.types(ISSUE_FOR_ALICE)
    for header in ("Authorization: Bearer", "authorization: bearer", "x-api-key:"):
        assert reader.reads(MESSAGE.replace("Authorization: Bearer", header), TOKEN=token)["type"] == "message"


def test_manual_end_to_end_testing(upstream: PracticeUpstream, tmp_path: Path) -> None:
    with RouterProcess("asyncio", tmp_path, upstream.origin, **settings(tmp_path, "test-oauth-token")) as router:
        reader = Reader(router)
        assert reader.types(HEALTH) == "ok"
        token = reader.types(ISSUE_FOR_ALICE)
        for command, message in (
            (MESSAGE, None),  # the provider's own words: the credential is not real
            (WITHOUT_TOKEN, "Missing Authorization Bearer token or x-api-key"),
            (WITH_A_WRONG_TOKEN, "Invalid token"),
        ):
            error = reader.reads(command, TOKEN=token)
            assert (error["type"], error["error"]["type"]) == ("error", "authentication_error")
            assert message is None or error["error"]["message"].startswith(message)
    assert b"test-oauth-token" not in router.output


def test_administration_of_tokens(reader: Reader) -> None:
    issued = reader.reads(ISSUE)
    records = reader.reads("curl -s http://localhost:8080/api/tokens/list | jq .data")
    (record,) = [record for record in records if record["id"] == issued["id"]]
    assert (record["label"], record["revoked"]) == ("my-dev-token", False)
    revoke = "curl -s http://localhost:8080/api/tokens/revoke -H 'Content-Type: application/json' -d \"$BODY\""
    body = json.dumps({"id": issued["id"]})
    assert reader.reads(revoke, BODY=body) == {"revoked": issued["id"]}
    error = reader.reads(MESSAGE, TOKEN=issued["token"])
    assert error["error"]["message"] == "Token has been revoked"


def test_administration_of_providers(reader: Reader) -> None:
    url = "http://localhost:8080/api/providers"
    stored = reader.reads(f"curl -s {url} -H 'Content-Type: application/json' -d \"$BODY\"", BODY=PROVIDER)
    assert stored.items() >= json.loads(PROVIDER).items()
    assert stored["has_encrypted_api_key"] is False
    assert reader.reads(f"curl -s {url}") == {"data": [stored]}
    assert reader.reads(f"curl -s {url}/litellm") == stored
    assert reader.reads(f"curl -s -X DELETE {url}/litellm") == {"deleted": "litellm"}
    assert reader.types(f"curl -s -o /dev/null -w '%{{http_code}}' {url}/litellm") == "404"


def test_observability(reader: Reader) -> None:
    reader.reads(MESSAGE, TOKEN=reader.types(ISSUE_FOR_ALICE))
    page = reader.types("curl -s http://localhost:8080/metrics")
    assert "# TYPE link_assistant_requests_total counter" in page.splitlines()
    usage = reader.reads("curl -s http://localhost:8080/v1/usage | jq .")
    assert usage["anthropic_messages"] >= 1
    assert usage["status_counts"]["200"] >= 1
    accounts = reader.reads("curl -s http://localhost:8080/v1/accounts | jq .")
    assert PRACTICE_TOKEN not in page + json.dumps([usage, accounts])


def test_the_openai_surface(reader: Reader) -> None:
    token = reader.types(ISSUE_FOR_ALICE)
    models = reader.reads(
        'curl -s http://localhost:8080/v1/models -H "Authorization: Bearer $TOKEN" | jq -c "[.data[].id]"', TOKEN=token
    )
    assert any(model.startswith("claude-") for model in models)
    chat = """curl -s http://localhost:8080/v1/chat/completions -H "Authorization: Bearer $TOKEN" \\
      -H 'Content-Type: application/json' -d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}'"""
    assert reader.reads(chat, TOKEN=token)["object"] == "chat.completion"
