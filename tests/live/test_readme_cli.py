"""The command lines of the original's README, typed into a shell as they stand there.

Replaced are only the port, the upstream, and the folder of the manual test, which has to be one of its own.
"""

import json
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pytest

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from tests.contracts.checkout import ROOT
from tests.live.routers import LOGIN, PATIENCE
from transports.version import version

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(None in map(shutil.which, ("curl", "jq")), reason="the README uses curl and jq"),
]

UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

MESSAGE: Final = (
    '{"model": "claude-sonnet-4-20250514", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}'
)


class Terminal:
    """A shell that keeps its variables from line to line; the program is on its path. Use as a context manager."""

    END: Final = "end of what that line said"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir(exist_ok=True)
        program = programs / "link-assistant-router"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
        program.chmod(0o755)
        self._environment = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "ROUTER_HOST": "127.0.0.1",
            "OAUTH_REFRESH": "off",
        }

    def __enter__(self) -> Self:
        self._complaints = (self.folder / "stderr").open("a+")
        self._shell = subprocess.Popen(
            ["sh"], cwd=self.folder, env=self._environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._complaints,
        )  # fmt: skip
        return self

    def __exit__(self, *exception: object) -> None:
        self._shell.communicate(timeout=PATIENCE)
        self._complaints.close()

    def types(self, line: str, *, exit_code: int = 0) -> str:
        """What the line writes to stdout."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'{line}\necho "{self.END} $?"\n')
        self._shell.stdin.flush()
        said = ""
        for read in self._shell.stdout:
            before, end, code = read.partition(self.END)
            said += before
            if end:
                assert int(code) == exit_code, (line, said, self.stderr)
                return said
        raise AssertionError("the shell has ended")

    def json(self, line: str) -> Any:
        return json.loads(self.types(line))

    @property
    def stderr(self) -> str:
        """All that was written to it since the terminal was opened."""
        return (self.folder / "stderr").read_text()


class Router:
    """The program as it was started in another terminal. Use as a context manager."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __enter__(self) -> list[str]:
        """Its log as far as ``Listening on``."""
        process_id = self._terminal.types("mkfifo log; link-assistant-router 2>log & echo $!").strip()
        self._end = f"kill {process_id}; wait {process_id}"
        self._log = (self._terminal.folder / "log").open()
        lines = []
        for line in self._log:
            lines.append(line.rstrip())
            if "Listening on" in line:
                break
        return lines

    def __exit__(self, *exception: object) -> None:
        self._terminal.types(self._end)
        self._log.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[PracticeUpstream]:
    with PracticeUpstream(credentials={PRACTICE_TOKEN}) as running:
        yield running


def free_port() -> int:
    """One that no other test is given: below those that the system hands out by itself."""
    for number in random.sample(range(10_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number
    raise AssertionError("no port is free")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """The shell of somebody who has just installed the program."""
    with Terminal(tmp_path) as opened:
        yield opened


@dataclass(frozen=True)
class Started:
    """Quick start, as far as step 3: a login, a router before it, and the shell that it was started from."""

    terminal: Terminal
    port: int
    log: list[str]


@pytest.fixture(scope="module")
def started(upstream: PracticeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder, port = tmp_path_factory.mktemp("readme"), free_port()
    login = folder / ".claude/.credentials.json"
    login.parent.mkdir()
    login.write_text(LOGIN)
    login.chmod(0o600)
    with Terminal(folder) as terminal:
        for line in (
            "export TOKEN_SECRET=your-secure-secret-here",
            f"export ROUTER_PORT={port}",
            "export CLAUDE_CODE_HOME=~/.claude",
            f"export UPSTREAM_BASE_URL={upstream.origin}",
        ):
            assert terminal.types(line) == ""
        with Router(terminal) as log:
            yield Started(terminal, port, log)


def test_the_router_starts_and_says_so(started: Started, upstream: PracticeUpstream) -> None:
    told = [line.partition(" INFO ")[2] for line in started.log]
    assert [line for line in told if line.startswith(("Link", "Upstream: ", "Claude", "Listening"))] == [
        f"Link.Assistant.Router v{version()}",
        f"Upstream: {upstream.origin}",
        f"Claude Code home: {started.terminal.folder}/.claude",
        f"Listening on 127.0.0.1:{started.port}",
    ]


def test_a_token_is_issued_with_curl_and_used(started: Started) -> None:
    answer = started.terminal.json(
        f"""curl -s -X POST http://localhost:{started.port}/api/tokens \\
  -H "Content-Type: application/json" \\
  -d '{{"ttl_hours": 24, "label": "my-dev-token"}}' | jq ."""
    )
    assert answer["token"].startswith("la_sk_eyJ0eXAi")
    assert (answer["ttl_hours"], answer["label"], answer["account"]) == (24, "my-dev-token", None)
    message = started.terminal.json(
        f"""curl -s http://localhost:{started.port}/api/latest/anthropic/v1/messages \\
  -H "Authorization: Bearer {answer["token"]}" \\
  -H "Content-Type: application/json" \\
  -H "anthropic-version: 2023-06-01" \\
  -d '{{
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 100,
    "messages": [{{"role": "user", "content": "Hello!"}}]
  }}' | jq ."""
    )
    assert (message["type"], message["role"]) == ("message", "assistant")


def test_a_token_for_each_user(started: Started) -> None:
    for name in ("alice", "bob"):
        token = started.terminal.types(
            f"""curl -s -X POST http://localhost:{started.port}/api/tokens \\
  -H "Content-Type: application/json" \\
  -d '{{"ttl_hours": 168, "label": "{name}"}}' | jq -r '.token'"""
        )
        assert re.fullmatch(r"la_sk_[\w-]+\.[\w-]+\.[\w-]+\n", token)
    rows = started.terminal.types("link-assistant-router tokens list").splitlines()[1:]
    assert {"alice", "bob"} <= {row.split()[4] for row in rows}


def test_tokens_are_managed_without_a_router(terminal: Terminal) -> None:
    terminal.types("export TOKEN_SECRET=your-secure-secret-here")
    token = terminal.types("link-assistant-router tokens issue --ttl-hours 168 --label alice")
    assert re.fullmatch(r"la_sk_eyJ0eXAi[\w-]+\.[\w-]+\.[\w-]+\n", token)
    listed = terminal.types("link-assistant-router tokens list")
    header, row = listed.splitlines()
    assert header.startswith("id                                    issued_at   expires_at  revoked     label")
    shape = re.fullmatch(rf"({UUID})  (\d{{10}})  (\d{{10}})  false       alice  0/-", row)
    assert shape is not None
    token_id, issued_at, expires_at = shape.groups()
    assert int(expires_at) - int(issued_at) == 168 * 3600
    assert terminal.types(f"link-assistant-router tokens revoke {token_id}") == f"revoked {token_id}\n"
    shown = terminal.json(f"link-assistant-router tokens show {token_id}")
    assert list(shown)[:6] == ["id", "label", "issued_at", "expires_at", "revoked", "account"]
    assert (shown["id"], shown["label"], shown["revoked"], shown["account"]) == (token_id, "alice", True, None)
    assert terminal.types("link-assistant-router tokens show nobody", exit_code=2) == ""
    assert terminal.stderr.endswith("not found: nobody\n")


def test_a_running_router_heeds_what_the_command_line_does(started: Started) -> None:
    terminal = started.terminal
    terminal.types("TOKEN=$(link-assistant-router tokens issue --ttl-hours 168 --label revoked-soon)")
    ask = f"""curl -s -o body -w '%{{http_code}}' http://localhost:{started.port}/v1/messages \\
  -H "x-api-key: $TOKEN" -H "Content-Type: application/json" -d '{MESSAGE}'"""
    assert terminal.types(ask) == "200"
    listing = (
        f"curl -s http://localhost:{started.port}/api/tokens/list | jq '.data[] | select(.label == \"revoked-soon\")'"
    )
    terminal.types(f"link-assistant-router tokens revoke {terminal.json(listing)['id']}")
    give_up_at = time.monotonic() + PATIENCE
    while terminal.types(ask) != "403":
        assert time.monotonic() < give_up_at
    assert terminal.json("cat body")["error"]["message"] == "Token has been revoked"
    assert terminal.json(listing)["revoked"]


def test_accounts_and_doctor(started: Started) -> None:
    terminal = started.terminal
    header, row = terminal.types("link-assistant-router accounts list").splitlines()
    assert header.startswith("name              healthy   used    home")
    assert row.startswith("primary           true      ")
    first, *lines = terminal.types("link-assistant-router doctor").splitlines()
    assert first == f"Link.Assistant.Router v{version()}"
    shown = {line[:23].strip(): line[25:] for line in lines if line[23:25] == ": "}
    assert shown["listen_addr"] == f"127.0.0.1:{started.port}"
    assert shown["port"] == "in use by a running router"
    assert shown["primary credentials"].startswith(f"{terminal.folder}/.claude/.credentials.json (found, token OK)")
    assert shown["storage_policy"] == "Both"
    assert lines[-1].startswith("0 failed, ")


def test_providers_are_managed(terminal: Terminal) -> None:
    terminal.types("export TOKEN_SECRET=your-router-token-secret")
    terminal.types("export LITELLM_MASTER_KEY=sk-hunter2")
    added = terminal.json(
        """link-assistant-router providers add \\
  --name litellm \\
  --base-url http://litellm:4000/v1 \\
  --model claude-sonnet \\
  --models claude-sonnet,gpt-4o \\
  --api-key "$LITELLM_MASTER_KEY\""""
    )
    assert (added["name"], added["models"], added["has_encrypted_api_key"]) == (
        "litellm", ["claude-sonnet", "gpt-4o"], True,
    )  # fmt: skip
    assert terminal.types("link-assistant-router providers list") == (
        "name                  kind                base_url                          enabled     default_model\n"
        "litellm               openai-compatible   http://litellm:4000/v1            true        claude-sonnet\n"
    )
    assert terminal.json("link-assistant-router providers show litellm") == added
    assert terminal.types("link-assistant-router providers remove litellm") == "removed litellm\n"
    again = "link-assistant-router providers add --name litellm --base-url http://litellm:4000/v1 --model claude-sonnet"
    assert terminal.json(again)["default_model"] == "claude-sonnet"
    for path in terminal.folder.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_the_links_style_of_the_readme_is_imported(terminal: Terminal) -> None:
    (terminal.folder / "providers.lenv").write_text(
        'litellm\n  kind "openai-compatible"\n  base-url "http://litellm:4000/v1"\n  model "claude-sonnet"\n'
        '  models "claude-sonnet,gpt-4o"\n  api-key-env "LITELLM_MASTER_KEY"\n'
    )
    assert terminal.types("link-assistant-router providers import providers.lenv") == "imported 1 provider(s)\n"
    assert terminal.json("link-assistant-router providers show litellm") == {
        "name": "litellm",
        "kind": "openai-compatible",
        "base_url": "http://litellm:4000/v1",
        "default_model": "claude-sonnet",
        "models": ["claude-sonnet", "gpt-4o"],
        "api_key_env": "LITELLM_MASTER_KEY",
        "has_encrypted_api_key": False,
        "enabled": True,
    }


def test_the_lenv_sample_of_the_readme_is_in_effect(terminal: Terminal) -> None:
    (terminal.folder / ".lenv").write_text(
        "TOKEN_SECRET: your-router-token-secret\n"
        "UPSTREAM_PROVIDER: openai-compatible\n"
        "OPENAI_COMPATIBLE_PROVIDER_NAME: litellm\n"
        "OPENAI_COMPATIBLE_BASE_URL: http://litellm:4000/v1\n"
        "OPENAI_COMPATIBLE_API_KEY_ENV: LITELLM_MASTER_KEY\n"
        "OPENAI_COMPATIBLE_MODEL: claude-sonnet\n"
        "OPENAI_COMPATIBLE_MODELS: claude-sonnet,gpt-4o\n"
    )
    rows = terminal.json("link-assistant-router --print-config --json")["settings"]
    found = {row["setting"]: (row["value"], row["source"]) for row in rows if row["source"] != "default"}
    assert found == {
        "TOKEN_SECRET": ("set", ".lenv line 1"),
        "UPSTREAM_PROVIDER": ("openai-compatible", ".lenv line 2"),
        "OPENAI_COMPATIBLE_PROVIDER_NAME": ("litellm", ".lenv line 3"),
        "OPENAI_COMPATIBLE_BASE_URL": ("http://litellm:4000/v1", ".lenv line 4"),
        "OPENAI_COMPATIBLE_API_KEY_ENV": ("LITELLM_MASTER_KEY", ".lenv line 5"),
        "OPENAI_COMPATIBLE_MODEL": ("claude-sonnet", ".lenv line 6"),
        "OPENAI_COMPATIBLE_MODELS": (["claude-sonnet", "gpt-4o"], ".lenv line 7"),
        "OAUTH_REFRESH": ("off", "the environment"),
        "ROUTER_HOST": ("127.0.0.1", "the environment"),
    }


def test_the_http_api_takes_the_same_shape(started: Started) -> None:
    stored = started.terminal.json(
        f"""curl -s -X POST http://localhost:{started.port}/api/providers -H "Content-Type: application/json" -d '{{
  "name": "litellm",
  "kind": "openai-compatible",
  "base_url": "http://litellm:4000/v1",
  "default_model": "claude-sonnet",
  "models": ["claude-sonnet", "gpt-4o"],
  "api_key_env": "LITELLM_MASTER_KEY"
}}'"""
    )
    assert started.terminal.json("link-assistant-router providers show litellm") == stored
    address = f"http://localhost:{started.port}/api/providers"
    assert started.terminal.types(f"curl -s -X DELETE {address}/litellm | jq -c .") == '{"deleted":"litellm"}\n'
    assert started.terminal.json(f"curl -s {address}") == {"data": []}


def test_the_manual_end_to_end_test(terminal: Terminal, upstream: PracticeUpstream) -> None:
    port = free_port()
    home = terminal.folder / "test-claude"
    for line in (
        f"mkdir -p {home}",
        f"""echo '{{"accessToken": "test-oauth-token"}}' > {home}/credentials.json""",
        "export TOKEN_SECRET=test-secret",
        f"export CLAUDE_CODE_HOME={home}",
        f"export UPSTREAM_BASE_URL={upstream.origin}",
        f"export ROUTER_PORT={port}",
    ):
        assert terminal.types(line) == ""
    with Router(terminal):
        assert terminal.types(f"curl -s http://localhost:{port}/health") == "ok"
        terminal.types(
            f"""TOKEN=$(curl -s -X POST http://localhost:{port}/api/tokens \\
  -H "Content-Type: application/json" \\
  -d '{{"ttl_hours": 1, "label": "test"}}' | jq -r '.token')"""
        )
        assert terminal.types('echo "Token: $TOKEN"').startswith("Token: la_sk_eyJ0eXAi")
        refused = terminal.json(
            f"""curl -s http://localhost:{port}/api/latest/anthropic/v1/messages \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -H "anthropic-version: 2023-06-01" \\
  -d '{MESSAGE}' | jq ."""
        )
        assert refused["error"]["type"] == "authentication_error"
        missing = terminal.json(f"curl -s http://localhost:{port}/api/latest/anthropic/v1/messages | jq .")
        invalid = terminal.json(
            f"""curl -s http://localhost:{port}/api/latest/anthropic/v1/messages \\
  -H "Authorization: Bearer la_sk_invalid" | jq ."""
        )
        for answer in (missing, invalid):
            assert (answer["type"], answer["error"]["type"]) == ("error", "authentication_error")
