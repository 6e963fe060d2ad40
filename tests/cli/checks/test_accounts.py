from pathlib import Path

import pytest

from tests.cli.checks.support import QUIET, Seen, examined, write_login

ALONE = {name: value for name, value in QUIET.items() if name != "ANTHROPIC_API_KEY"}
PRIMARY = "primary credentials"


def primary(folder: Path, *arguments: str, **others: str) -> Seen:
    return examined(folder, *arguments, settings=ALONE, **others)[PRIMARY]


def test_no_file_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    home = tmp_path / "home/.claude"
    assert primary(tmp_path) == Seen(
        f"{home} (MISSING)",
        "failed",
        [f"no credential was found: log in with Claude Code and CLAUDE_CONFIG_DIR={home}, or use an API key"],
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{}", None),
        ('{"accessToken": "', "not valid JSON: Input data was truncated"),
        ('{"accessToken": "two words"}', "accessToken is not usable: it holds white space"),
    ],
)
def test_a_file_without_a_token_is_a_failure(content: str, complaint: str | None, tmp_path: Path) -> None:
    home = tmp_path / "home/.claude"
    home.mkdir(parents=True)
    (home / "auth.json").write_text(content)
    seen = primary(tmp_path)
    assert (seen.value, seen.status) == (f"{home}/auth.json (found, NO TOKEN)", "failed")
    assert len(seen.findings) == (1 if complaint is None else 2)
    assert complaint is None or complaint in seen.findings[0]


def test_an_api_key_of_the_environment_is_a_credential(tmp_path: Path) -> None:
    assert primary(tmp_path, ANTHROPIC_API_KEY="sk-ant-api03-hush") == Seen("ANTHROPIC_API_KEY (set)", "ok", [])


def test_an_api_key_in_a_file_is_a_credential(tmp_path: Path) -> None:
    home = tmp_path / "home/.claude"
    home.mkdir(parents=True)
    (home / "config.json").write_text('{"primaryApiKey": "sk-ant-api03-hush"}')
    (home / "config.json").chmod(0o600)
    assert primary(tmp_path) == Seen(f"{home}/config.json (found, token OK), API key", "ok", [])


def test_the_flat_file_of_the_original_is_a_login_without_an_end(tmp_path: Path) -> None:
    home = tmp_path / "home/.claude"
    home.mkdir(parents=True)
    (home / "credentials.json").write_text('{"accessToken": "test-oauth-token"}')
    seen = primary(tmp_path)
    assert seen.value == f"{home}/credentials.json (found, token OK), login, not renewable"
    assert seen.status == "warning"  # for its mode


@pytest.mark.parametrize(
    ("seconds", "refresh", "mode", "value", "status", "finding"),
    [
        (3600, True, "file", "token OK), login until", "ok", None),
        (3600, False, "file", "token OK), login until", "warning", "it ends within a day, and nothing renews it"),
        (3600, True, "off", "token OK), login until", "warning", "it ends within a day, and nothing renews it"),
        (7 * 86400, False, "file", "token OK), login until", "ok", None),
        (-3600, True, "memory", "token expired), login until", "ok", None),
        (-3600, False, "file", "token expired), login until", "failed", "the login has expired and cannot be renewed"),
        (-3600, True, "off", "token expired), login until", "failed", "the login has expired and cannot be renewed"),
    ],
)
def test_a_login_is_judged_by_its_end_and_whether_it_can_be_renewed(
    seconds: float, refresh: bool, mode: str, value: str, status: str, finding: str | None, tmp_path: Path
) -> None:
    path = write_login(tmp_path / "home/.claude", seconds=seconds, refresh="sk-ant-ort01-hush" if refresh else None)
    seen = primary(tmp_path, "--oauth-refresh", mode)
    assert seen.value.startswith(f"{path} (found, {value} 20")
    assert seen.value.endswith(", renewable" if refresh and mode != "off" else ", not renewable")
    assert seen.status == status
    assert len(seen.findings) == (finding is not None)
    assert finding is None or seen.findings[0].startswith(finding)


def test_an_end_that_no_calendar_has_is_shown_as_a_number(tmp_path: Path) -> None:
    write_login(tmp_path / "home/.claude", seconds=1e15)
    assert "login until 1000001" in primary(tmp_path).value


def test_a_file_that_others_may_read_is_warned_about(tmp_path: Path) -> None:
    path = write_login(tmp_path / "home/.claude", mode=0o644)
    assert primary(tmp_path).findings == [
        f"other users of this machine may open {path} (mode 0644); try `chmod 600` on it"
    ]


def test_a_file_that_was_passed_over_is_warned_about(tmp_path: Path) -> None:
    path = write_login(tmp_path / "home/.claude", file="auth.json")
    (path.parent / "credentials.json").write_text("[]")
    seen = primary(tmp_path)
    assert seen.value.startswith(f"{path} (found")
    assert seen.findings == [f"{path.parent}/credentials.json: not a JSON object"]


def test_accounts_that_no_request_is_sent_with_may_be_missing_or_out(tmp_path: Path) -> None:
    assert primary(tmp_path, UPSTREAM_PROVIDER="openai-compatible").status == "ok"
    write_login(tmp_path / "home/.claude", seconds=-60, refresh=None)
    assert primary(tmp_path, UPSTREAM_PROVIDER="openai-compatible").status == "warning"


def test_every_additional_account_is_looked_at(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("one", "two", "three")]
    write_login(homes[0], access="sk-ant-oat01-hush-one")
    write_login(homes[1], access="sk-ant-oat01-hush-two")
    seen = examined(tmp_path, ADDITIONAL_ACCOUNT_DIRS=",".join(map(str, homes)))
    assert [seen[label].status for label in (PRIMARY, "extra account 1", "extra account 2", "extra account 3")] == [
        "ok", "ok", "ok", "failed",
    ]  # fmt: skip
    assert seen["extra account 3"].value == f"{homes[2]} (MISSING)"
    assert seen["additional_account_dirs"].value == "3 configured"


def test_one_login_under_two_names_is_warned_about(tmp_path: Path) -> None:
    write_login(tmp_path / "home/.claude")
    write_login(tmp_path / "two")
    seen = examined(tmp_path, settings=ALONE, ADDITIONAL_ACCOUNT_DIRS=str(tmp_path / "two"))
    assert seen[PRIMARY].findings == []
    assert seen["extra account 1"].findings == [
        "it is the same as that of primary credentials: one account under two names has no more room"
    ]
