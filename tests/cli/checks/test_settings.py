from pathlib import Path

import pytest

from tests.cli.checks.support import QUIET, Seen, examined


def test_the_lines_of_the_original_have_their_values(tmp_path: Path) -> None:
    seen = examined(
        tmp_path,
        ROUTER_HOST="::1",
        ROUTER_PORT="0",
        STORAGE_POLICY="lino",
        DISABLE_METRICS="yes",
        OPENAI_COMPATIBLE_PROVIDER_NAME="own",
    )
    expected = {
        "listen_addr": "[::1]:0",
        "upstream_provider": "anthropic",
        "upstream_base_url": "https://api.anthropic.com",
        "openai_provider": "own (http://localhost:4000/v1)",
        "claude_code_home": f"{tmp_path}/home/.claude",
        "storage_policy": "Text",
        "enable_openai_api": "true",
        "enable_anthropic_api": "true",
        "enable_metrics": "false",
        "additional_account_dirs": "0 configured",
        "admin_key": "set",
        "token_secret": "set",
        "settings_files": "<none>",
    }
    assert {label: seen[label].value for label in expected} == expected
    assert {seen[label].status for label in expected} == {"ok"}


def test_a_unix_socket_is_what_is_listened_on(tmp_path: Path) -> None:
    assert examined(tmp_path, UNIX_SOCKET="run.sock")["listen_addr"].value == "unix:run.sock"


# --- the admin key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "warned"),
    [("0.0.0.0", True), ("192.0.2.1", True), ("router.example", True), ("127.0.0.1", False), ("localhost", False)],
)
def test_a_router_that_others_reach_should_have_an_admin_key(host: str, warned: bool, tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_ADMIN_KEY="", ROUTER_HOST=host)["admin_key"]
    assert (seen.value, seen.status) == ("<unset>", "warning" if warned else "ok")


def test_on_a_unix_socket_no_admin_key_is_needed(tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_ADMIN_KEY="", ROUTER_HOST="0.0.0.0", UNIX_SOCKET="run.sock")["admin_key"]
    assert seen.status == "ok"


def test_a_short_admin_key_is_warned_about(tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_ADMIN_KEY="x" * 15)["admin_key"]
    assert (seen.value, seen.findings) == ("set", ["it has less than 16 characters and may be guessed"])


# --- the token secret -------------------------------------------------------------------------------------------------


def test_a_weak_secret_is_warned_about(tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_SECRET="test-secret")["token_secret"]
    assert (seen.value, seen.status) == ("set", "warning")
    assert "shorter than 32 bytes" in seen.findings[0]


def test_a_secret_that_is_still_to_be_made_is_not_made_by_looking(tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_SECRET="")["token_secret"]
    assert seen == Seen(f"{tmp_path}/data/token_secret (will be made at the first start)", "ok", [])
    assert not (tmp_path / "data").exists()


def test_a_kept_secret_is_found(tmp_path: Path) -> None:
    path = tmp_path / "data/token_secret"
    path.parent.mkdir(mode=0o700)
    path.write_text("x" * 32)
    path.chmod(0o640)
    seen = examined(tmp_path, TOKEN_SECRET="")["token_secret"]
    assert seen.value == f"{path} (present)"
    assert seen.findings == [f"Other users of this machine may open the token secret in {path}"]


def test_a_secret_file_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    seen = examined(tmp_path, TOKEN_SECRET="", TOKEN_SECRET_FILE="gone")["token_secret"]
    assert seen == Seen("gone (MISSING)", "failed", ["cannot read the token secret in gone: No such file or directory"])


# --- the upstream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://gateway.example", True),
        ("http://192.0.2.1:8080", True),
        ("http://localhost:9", False),
        ("http://[::1]:9", False),
        ("https://gateway.example", False),
    ],
)
def test_an_upstream_without_tls_elsewhere_is_warned_about(url: str, warned: bool, tmp_path: Path) -> None:
    seen = examined(tmp_path, UPSTREAM_BASE_URL=url)["upstream_base_url"]
    assert (seen.value, seen.status) == (url, "warning" if warned else "ok")


# --- the files --------------------------------------------------------------------------------------------------------


def test_what_is_wrong_in_the_files_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("RUST_LOG: off\nROUTER_PRT: 1\nDATABASE_URL: x\nVERBOSE=1\nROUTING_MODE: cli\n")
    (tmp_path / ".env").write_text("LOG_FORMAT=json\nGITHUB_TOKEN=x\n")
    seen = examined(tmp_path)["settings_files"]
    assert seen.value == (
        ".lenv, .env; other keys: ROUTER_PRT (.lenv line 2), DATABASE_URL (.lenv line 3), ROUTING_MODE (.lenv line 5), "
        "GITHUB_TOKEN (.env line 2)"
    )
    assert seen.findings == [
        ".lenv line 2: ROUTER_PRT has no effect; did you mean ROUTER_PORT?",
        '.lenv line 4 has no effect: it is not "KEY: value", with a colon and a blank',
        ".lenv line 5: ROUTING_MODE has no effect in this version",
    ]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True)])
@pytest.mark.parametrize(("name", "line"), [(".lenv", "TOKEN_ADMIN_KEY: {}\n"), (".env", "TOKEN_ADMIN_KEY={}\n")])
def test_a_file_with_a_secret_should_be_its_owners_alone(
    name: str, line: str, mode: int, warned: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(line.format(QUIET["TOKEN_ADMIN_KEY"]))
    (tmp_path / name).chmod(mode)
    without = {key: value for key, value in QUIET.items() if key != "TOKEN_ADMIN_KEY"}
    seen = examined(tmp_path, settings=without)["settings_files"]
    assert (seen.value, seen.status) == (name, "warning" if warned else "ok")


def test_a_file_without_a_secret_may_be_read_by_anyone(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("LOG_FORMAT: json\n")
    (tmp_path / ".lenv").chmod(0o644)
    assert examined(tmp_path)["settings_files"].status == "ok"
