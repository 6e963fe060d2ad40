import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol.identity.tokens import TokenVerifier
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
