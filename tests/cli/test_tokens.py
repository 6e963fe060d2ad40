import json
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from cli.tokens import read_id, show_token
from protocol.identity.tokens import PREFIX, TokenVerifier
from protocol.values import Secret
from tests.cli.support import SECRET, invoke, start
from tests.contracts.checkout import ROOT

ISSUE = ("tokens", "issue")


@pytest.mark.slow
def test_stdout_is_the_token_alone_on_a_line(tmp_path: Path) -> None:
    process = start(ISSUE, tmp_path, {"TOKEN_SECRET": "short", "RUST_LOG": "trace"})
    stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert stdout.count(b"\n") == 1
    assert TokenVerifier(Secret("short")).verify(stdout.removesuffix(b"\n"), time.time()).label == ""
    assert b"shorter than 32 bytes" in stderr


def test_a_token_says_what_was_asked_for(tmp_path: Path) -> None:
    result = invoke(
        [*ISSUE, "--ttl-hours", "168", "--label", "ålice", "--account", "team"], tmp_path, {"TOKEN_SECRET": SECRET}
    )
    claims = TokenVerifier(Secret(SECRET)).verify(result.stdout.strip().encode(), time.time())
    assert (claims.exp - claims.iat, claims.label, claims.account) == (168 * 3600, "ålice", "team")
    assert abs(claims.iat - time.time()) < 60


def test_a_token_lasts_a_day_and_is_for_any_account_unless_told_otherwise(tmp_path: Path) -> None:
    result = invoke(ISSUE, tmp_path, {"TOKEN_SECRET": SECRET})
    claims = TokenVerifier(Secret(SECRET)).verify(result.stdout.strip().encode(), time.time())
    assert (claims.exp - claims.iat, claims.label, claims.account) == (24 * 3600, "", None)


def test_tokens_are_signed_with_the_kept_secret_when_none_is_given(tmp_path: Path) -> None:
    first, second = (invoke(ISSUE, tmp_path, {"DATA_DIR": str(tmp_path / "data")}) for _ in range(2))
    kept = TokenVerifier(Secret((tmp_path / "data/token_secret").read_text().strip()))
    for result in (first, second):
        kept.verify(result.stdout.strip().encode(), time.time())
    assert ("Made a token secret" in first.stderr, second.stderr) == (True, "")


@pytest.mark.slow
def test_a_program_without_a_stderr_keeps_its_log_to_itself(tmp_path: Path) -> None:
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "cli", *ISSUE]
    environment = {"PYTHONPATH": str(ROOT), "TOKEN_SECRET": "short"}
    child = subprocess.run(closed, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True)
    assert child.stdout.startswith(b"la_sk_")
    assert child.stdout.count(b"\n") == 1


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "a day", "1e9"])
def test_a_lifetime_that_no_token_can_have_exits_2(hours: str, tmp_path: Path) -> None:
    result = invoke([*ISSUE, "--ttl-hours", hours], tmp_path, {"TOKEN_SECRET": SECRET})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "hours" in result.stderr


def test_a_label_that_does_not_fit_exits_2(tmp_path: Path) -> None:
    result = invoke([*ISSUE, "--label", "x" * 5000], tmp_path, {"TOKEN_SECRET": SECRET})
    assert (result.exit_code, result.stdout) == (2, "")


def test_the_secret_is_never_shown(tmp_path: Path) -> None:
    result = invoke([*ISSUE, "--verbose"], tmp_path, {"TOKEN_SECRET": "hush"})
    assert "hush" not in result.output


# --- the book ---------------------------------------------------------------------------------------------------------

README_ID = "550e8400-e29b-41d4-a716-446655440000"
README_LINE = f'(token {README_ID} (label "my-token") (issued_at 1710806400) (expires_at 4710892800) (revoked false))\n'


def settings(folder: Path, **others: str) -> dict[str, str]:
    return {"TOKEN_SECRET": SECRET, "DATA_DIR": str(folder / "data"), **others}


def run(folder: Path, *arguments: str, **others: str) -> Result:
    return invoke(["tokens", *arguments], folder, settings(folder, **others))


def issued(folder: Path, *arguments: str, **others: str) -> dict[str, Any]:
    """A new token, as the HTTP API would answer."""
    result = run(folder, "issue", "--json", *arguments, **others)
    assert (result.exit_code, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def listed(folder: Path, **others: str) -> list[dict[str, Any]]:
    result = run(folder, "list", "--json", **others)
    assert result.exit_code == 0, result.stderr
    records: list[dict[str, Any]] = json.loads(result.stdout)["data"]
    return records


@pytest.fixture
def readme_store(tmp_path: Path) -> Path:
    """A directory with a text store as the original writes it."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data/tokens.lino").write_text(f"# tokens\n# (token ...)\n{README_LINE}")
    return tmp_path


def test_a_token_is_recorded_with_its_limits_but_never_itself(tmp_path: Path) -> None:
    limits = ["--max-requests", "5", "--requests-per-minute", "2", "--token-budget", "1000"]
    answer = issued(tmp_path, "--label", "ålice", *limits, "--model", "claude-*", "--model", "gpt-4o")
    (record,) = listed(tmp_path)
    assert record == {
        "id": answer["id"],
        "label": "ålice",
        "issued_at": answer["expires_at"] - 24 * 3600,
        "expires_at": answer["expires_at"],
        "revoked": False,
        "account": None,
        "max_requests": 5,
        "requests_per_minute": 2,
        "token_budget": 1000,
        "models": ["claude-*", "gpt-4o"],
        "used_requests": 0,
        "usage": record["usage"],
    }
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert answer["token"].rpartition(".")[2].encode() not in kept


def test_the_answer_as_json_is_that_of_the_http_api(tmp_path: Path) -> None:
    answer = issued(tmp_path, "--ttl-hours", "2", "--account", "team", "--max-requests", "5")
    assert list(answer) == ["token", "ttl_hours", "label", "account", "id", "expires_at", "max_requests"]
    assert (answer["ttl_hours"], answer["account"], answer["max_requests"]) == (2, "team", 5)


@pytest.mark.parametrize(
    ("policy", "files"),
    [("text", {"tokens.lino"}), ("binary", {"tokens.bin"}), ("both", {"tokens.lino", "tokens.bin"})],
)
def test_records_are_kept_where_the_policy_says_readable_by_the_owner_alone(
    policy: str, files: set[str], tmp_path: Path
) -> None:
    issued(tmp_path, STORAGE_POLICY=policy)
    kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert kept == dict.fromkeys({*files, "tokens.lock"}, 0o600)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_the_list_has_the_columns_of_the_original_and_then_the_requests(readme_store: Path) -> None:
    usage = {"tokens": {README_ID: {"requests": 3}}}
    (readme_store / "data/token_usage.json").write_text(json.dumps(usage))
    assert run(readme_store, "list").stdout == (
        "id                                    issued_at   expires_at  revoked     label     requests\n"
        f"{README_ID}  1710806400  4710892800  false       my-token  3/-\n"
    )


def test_the_list_shows_how_many_requests_are_allowed(tmp_path: Path) -> None:
    issued(tmp_path, "--max-requests", "5", "--label", "a\nb\x1b[2J")
    row = run(tmp_path, "list").stdout.splitlines()[1]
    assert row.endswith("  a\ufffdb\ufffd[2J  0/5")


def test_no_records_are_an_empty_list_and_make_no_files(tmp_path: Path) -> None:
    header = "id                                    issued_at   expires_at  revoked     label  requests\n"
    assert (run(tmp_path, "list").stdout, listed(tmp_path)) == (header, [])
    assert not (tmp_path / "data").exists()


def test_one_record_is_shown_as_indented_json(readme_store: Path) -> None:
    result = run(readme_store, "show", README_ID)
    assert result.exit_code == 0
    assert result.stdout.startswith(f'{{\n  "id": "{README_ID}",\n  "label": "my-token",\n  "issued_at": 1710806400,\n')


def test_a_record_that_is_not_there_exits_2_with_a_plain_line(tmp_path: Path) -> None:
    result = run(tmp_path, "show", "nobody")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "not found: nobody\n")


def test_a_revoked_token_stays_revoked(readme_store: Path) -> None:
    result = run(readme_store, "revoke", README_ID)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"revoked {README_ID}\n", "")
    assert b"(revoked true)" in (readme_store / "data/tokens.lino").read_bytes()
    (readme_store / "data/tokens.lino").write_text(README_LINE)  # as an older copy that is put back
    assert listed(readme_store)[0]["revoked"]


def test_an_unknown_token_can_be_revoked_too(tmp_path: Path) -> None:
    result = run(tmp_path, "revoke", README_ID)
    assert (result.exit_code, result.stdout) == (0, f"revoked {README_ID}\n")
    assert result.stderr.startswith(f"There was no record of {README_ID}; one was made")
    assert (listed(tmp_path)[0]["id"], listed(tmp_path)[0]["revoked"]) == (README_ID, True)


def test_an_expired_token_has_ended(readme_store: Path) -> None:
    result = run(readme_store, "expire", README_ID)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"expired {README_ID}\n", "")
    (record,) = listed(readme_store)
    assert (record["revoked"], abs(record["expires_at"] - time.time()) < 60) == (False, True)
    assert record["signed_until"] == 4710892800


@pytest.mark.parametrize("command", ["show", "revoke", "expire"])
def test_a_token_stands_for_its_id(command: str, tmp_path: Path) -> None:
    answer = issued(tmp_path)
    result = run(tmp_path, command, answer["token"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert answer["id"] in result.stdout
    assert answer["token"] not in result.output


@pytest.mark.parametrize("text", ["la_sk_", "la_sk_a.b.c", "la_sk_é", "la_sk_eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_what_is_no_token_stands_for_nothing(text: str, tmp_path: Path) -> None:
    result = run(tmp_path, "revoke", text)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "this token cannot be read; give its id" in result.stderr


@given(st.text() | st.from_regex(r"\A[\w-]*\.[\w-]*\.[\w-]*\Z"), st.booleans())
def test_any_text_is_an_id_a_token_or_refused(text: str, with_prefix: bool) -> None:
    presented = PREFIX + text if with_prefix or text.startswith(PREFIX) else text
    with suppress(click.BadParameter):
        read = read_id(click.Context(show_token), show_token.params[0], presented)
        assert read == presented or presented.startswith(PREFIX)


@pytest.mark.parametrize("command", ["revoke", "expire"])
def test_what_cannot_be_an_id_exits_2(command: str, tmp_path: Path) -> None:
    result = run(tmp_path, command, "x" * 300)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "\udc80"],
        ["revoke", "la_sk_\udc80"],
        ["issue", "--label", "\udc80"],
        ["issue", "--account", "\udc80"],
        ["issue", "--model", "\udc80"],
    ],
)
@pytest.mark.parametrize("where", [[], ["--url", "http://127.0.0.1:9"]])
def test_what_is_not_utf_8_exits_2(arguments: list[str], where: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, *arguments, *where)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "it is not text in UTF-8" in result.stderr


@pytest.mark.parametrize("limit", ["--max-requests", "--requests-per-minute", "--token-budget"])
@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_limit_that_is_none_exits_2(limit: str, number: str, tmp_path: Path) -> None:
    result = run(tmp_path, "issue", limit, number)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not (tmp_path / "data/tokens.lino").exists()


# --- when it cannot be done -------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_understood_is_named_and_left_alone(readme_store: Path) -> None:
    path = readme_store / "data/tokens.lino"
    path.write_text(README_LINE + "(token")
    before = path.read_bytes()
    for arguments in (["issue"], ["list"], ["show", "x"], ["revoke", "x"], ["expire", "x"]):
        result = run(readme_store, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {path}, line 2")
    assert path.read_bytes() == before


def test_a_token_that_cannot_be_recorded_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    result = run(tmp_path, "issue")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be written" in result.stderr


def test_without_files_a_token_is_issued_and_that_is_said(tmp_path: Path) -> None:
    result = run(tmp_path, "issue", STORAGE_POLICY="memory")
    assert result.exit_code == 0
    assert TokenVerifier(Secret(SECRET)).verify(result.stdout.strip().encode(), time.time()).label == ""
    assert " WARN STORAGE_POLICY is memory" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["issue", "--max-requests", "5"], ["revoke", README_ID], ["expire", README_ID]])
def test_without_files_what_would_have_no_effect_exits_2(arguments: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, *arguments, STORAGE_POLICY="memory")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--url" in result.stderr


def test_without_files_nothing_is_listed(tmp_path: Path) -> None:
    assert listed(tmp_path, STORAGE_POLICY="memory") == []
    assert run(tmp_path, "show", README_ID, STORAGE_POLICY="memory").exit_code == 2
