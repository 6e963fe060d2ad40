import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.accounts import COLUMNS, ListedAccount, ListedCooldown, cells, lasting
from cli.practice import PRACTICE_API_KEY, PRACTICE_TOKEN, PracticeUpstream
from cli.remote import RemoteRouter
from protocol.identity.tokens import issue
from protocol.values import BaseUrl, Secret
from tests.cli.support import SECRET, invoke
from tests.live.asks import ask
from tests.live.routers import RunningRouter
from tests.support.site import Site, http_answer

LIST = ("accounts", "list")
ACCESS, REFRESH = "sk-ant-oat01-hush", "sk-ant-ort01-hush"


def write_login(home: Path, *, seconds: float | None = 3600, refresh: str | None = REFRESH, file: str = "") -> Path:
    """A login as Claude Code writes it, which expires in so many seconds."""
    home.mkdir(parents=True, exist_ok=True)
    login: dict[str, object] = {"accessToken": ACCESS}
    if refresh is not None:
        login["refreshToken"] = refresh
    if seconds is not None:
        login["expiresAt"] = int((time.time() + seconds) * 1000)
    (home / (file or ".credentials.json")).write_text(json.dumps({"claudeAiOauth": login}))
    return home


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a router that does not run; nobody else can be listening where it would."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield {
            "ROUTER_HOST": "127.0.0.1",
            "ROUTER_PORT": str(held.getsockname()[1]),
            "CLAUDE_CODE_HOME": str(tmp_path / "one"),
            "TOKEN_ADMIN_KEY": "hush",
        }


def listed(folder: Path, environment: Mapping[str, str], *arguments: str) -> list[dict[str, Any]]:
    result = invoke([*LIST, "--json", *arguments], folder, environment)
    assert result.exit_code == 0, result.stderr
    assert "hush" not in result.output
    accounts: list[dict[str, Any]] = json.loads(result.stdout)["accounts"]
    return accounts


# --- without a router -------------------------------------------------------------------------------------------------


def test_the_table_begins_with_the_columns_of_the_original(deaf: dict[str, str], tmp_path: Path) -> None:
    home = write_login(tmp_path / "one")
    header, row = invoke(LIST, tmp_path, deaf).stdout.splitlines()
    assert header.startswith("name              healthy   used    home  ")
    assert row.startswith(f"primary           true      0       {home}  ")
    assert header.split() == [column.title for column in COLUMNS]
    assert row.split() == ["primary", "true", "0", str(home), "oauth", row.split()[5], "-", "-"]


def test_that_nobody_was_asked_is_said_on_stderr_alone(deaf: dict[str, str], tmp_path: Path) -> None:
    write_login(tmp_path / "one")
    assert invoke(LIST, tmp_path, deaf).stderr == (
        f"no router answers at http://127.0.0.1:{deaf['ROUTER_PORT']}: Connection refused; "
        "the credential files were read instead, so use counts are unknown\n"
    )


def test_accounts_have_the_names_and_the_order_of_their_directories(deaf: dict[str, str], tmp_path: Path) -> None:
    homes = [write_login(tmp_path / name) for name in ("one", "two", "three")]
    deaf["ADDITIONAL_ACCOUNT_DIRS"] = f"{homes[1]}, {homes[2]}"
    assert [(account["name"], account["home"]) for account in listed(tmp_path, deaf)] == [
        ("primary", str(homes[0])),
        ("account-1", str(homes[1])),
        ("account-2", str(homes[2])),
    ]


@pytest.mark.parametrize(
    ("login", "refresh_mode", "healthy", "problem"),
    [
        ({"seconds": 3600}, "file", True, None),
        ({"seconds": None, "refresh": None}, "file", True, None),
        ({"seconds": -3600}, "file", True, None),
        ({"seconds": -3600}, "memory", True, None),
        ({"seconds": -3600}, "off", False, "the login has expired and cannot be renewed"),
        ({"seconds": -3600, "refresh": None}, "file", False, "the login has expired and cannot be renewed"),
        (None, "file", False, "no usable credential"),
    ],
)
def test_healthy_is_who_could_answer_now_or_after_a_renewal(
    login: dict[str, Any] | None,
    refresh_mode: str,
    healthy: bool,
    problem: str | None,
    deaf: dict[str, str],
    tmp_path: Path,
) -> None:
    if login is not None:
        write_login(tmp_path / "one", **login)
    (account,) = listed(tmp_path, deaf, "--oauth-refresh", refresh_mode)
    assert (account["healthy"], account["last_error"], account["used"]) == (healthy, problem, 0)


def test_an_api_key_is_an_account_too(deaf: dict[str, str], tmp_path: Path) -> None:
    (account,) = listed(tmp_path, {**deaf, "ANTHROPIC_API_KEY": "sk-ant-api03-hush"})
    assert (account["kind"], account["source"], account["healthy"]) == ("api_key", "ANTHROPIC_API_KEY", True)


def test_a_file_that_makes_no_sense_is_warned_about_and_the_next_one_counts(
    deaf: dict[str, str], tmp_path: Path
) -> None:
    home = write_login(tmp_path / "one", file="auth.json")
    (home / "credentials.json").write_text('{"accessToken": "hush')
    result = invoke([*LIST, "--json"], tmp_path, deaf)
    assert f" WARN {home}/credentials.json: not valid JSON" in result.stderr
    assert json.loads(result.stdout)["accounts"][0]["source"] == f"{home}/auth.json"
    assert "hush" not in result.output


def test_reading_changes_nothing_on_the_disk(deaf: dict[str, str], tmp_path: Path) -> None:
    write_login(tmp_path / "one", seconds=-3600)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    listed(tmp_path, {**deaf, "DATA_DIR": str(tmp_path / "data")})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_name_of_a_directory_cannot_command_the_terminal(deaf: dict[str, str], tmp_path: Path) -> None:
    deaf["CLAUDE_CODE_HOME"] = f"{tmp_path}/\x1b[2J数据"
    assert listed(tmp_path, deaf)[0]["home"].endswith("/\x1b[2J数据")
    assert "/\ufffd[2J数据  " in invoke(LIST, tmp_path, deaf).stdout


# --- with a router ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstream() -> Iterator[PracticeUpstream]:
    with PracticeUpstream(credentials={PRACTICE_TOKEN, PRACTICE_API_KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def second_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("second")
    (home / "auth.json").write_text(json.dumps({"api_key": PRACTICE_API_KEY}))
    return home


@pytest.fixture(scope="module")
def router(upstream: PracticeUpstream, second_home: Path) -> Iterator[RunningRouter]:
    """With two accounts, of which the second one was used once."""
    with RunningRouter("trio", upstream.origin, ADDITIONAL_ACCOUNT_DIRS=str(second_home)) as running:
        pinned = issue(Secret(SECRET), account="account-1", wall=time.time(), entropy=bytes)
        RemoteRouter(BaseUrl.parse(running.origin), pinned.token).ask("POST", "/v1/messages", ask())
        yield running


def where(running: RunningRouter) -> dict[str, str]:
    host, _, port = running.addresses[0].rpartition(":")
    return {"ROUTER_HOST": host, "ROUTER_PORT": port}


@pytest.mark.slow
def test_a_running_router_is_asked_where_the_settings_say_that_it_is(router: RunningRouter, tmp_path: Path) -> None:
    accounts = listed(tmp_path, where(router))
    assert [(account["name"], account["healthy"], account["used"]) for account in accounts] == [
        ("primary", True, 0),
        ("account-1", True, 1),
    ]
    result = invoke(LIST, tmp_path, where(router))
    assert (len(result.stdout.splitlines()), result.stderr) == (3, "")


@pytest.mark.slow
def test_a_router_elsewhere_is_asked_by_its_url(router: RunningRouter, deaf: dict[str, str], tmp_path: Path) -> None:
    accounts = listed(tmp_path, {**deaf, "TOKEN_ADMIN_KEY": ""}, "--url", router.origin)
    assert [account["kind"] for account in accounts] == ["oauth", "api_key"]


@pytest.mark.slow
def test_files_are_told_of_in_the_same_shape_as_by_a_router(
    router: RunningRouter, deaf: dict[str, str], tmp_path: Path
) -> None:
    asked, read = listed(tmp_path, where(router))[0], listed(tmp_path, deaf)[0]
    assert list(read) == list(asked)


@pytest.mark.slow
def test_a_router_on_a_unix_socket_is_asked_there(upstream: PracticeUpstream, tmp_path: Path) -> None:
    path = str(tmp_path / "router.sock")
    with RunningRouter("trio", upstream.origin, UNIX_SOCKET=path):
        result = invoke(LIST, tmp_path, {"UNIX_SOCKET": path})
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1].startswith("primary           true      0  ")


@pytest.mark.slow
def test_a_router_that_wants_another_key_is_not_passed_over(upstream: PracticeUpstream, tmp_path: Path) -> None:
    with RunningRouter("trio", upstream.origin, TOKEN_ADMIN_KEY="the-key") as running:
        for arguments in ((), ("--admin-key", "hush"), ("--url", running.origin)):
            refused = invoke([*LIST, *arguments], tmp_path, where(running))
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "(HTTP 401); the key is taken from --admin-key or TOKEN_ADMIN_KEY" in refused.stderr
            assert "hush" not in refused.stderr
        assert len(listed(tmp_path, {**where(running), "TOKEN_ADMIN_KEY": "the-key"})) == 1


@pytest.mark.slow
def test_a_list_that_is_hidden_is_made_from_the_files_unless_a_url_was_given(
    upstream: PracticeUpstream, tmp_path: Path
) -> None:
    with RunningRouter("trio", upstream.origin, DISABLE_METRICS="true") as running:
        near = invoke(LIST, tmp_path, where(running))
        far = invoke([*LIST, "--url", running.origin], tmp_path)
    assert (near.exit_code, "the credential files were read instead" in near.stderr) == (0, True)
    assert (far.exit_code, far.stdout, "(HTTP 404)" in far.stderr) == (1, "", True)


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"accounts": [{"name": "primary"}]}', b'{"accounts": [null]}'])
def test_what_answers_with_other_json_is_no_router(answer: bytes, tmp_path: Path) -> None:
    with Site(http_answer(200, answer)) as site:
        result = invoke([*LIST, "--url", str(site.base)], tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: no router answers at {site.base}: its answer is no list of accounts\n"


def test_what_the_original_lists_can_be_shown(tmp_path: Path) -> None:
    account = {"name": "primary", "home": "/c", "healthy": False, "used": 3, "last_error": "upstream returned 429"}
    shown = json.dumps({"accounts": [{**account, "cooldown_remaining_seconds": 59}]}).encode()
    with Site(http_answer(200, shown)) as site:
        result = invoke([*LIST, "--url", str(site.base)], tmp_path)
    assert result.stdout.splitlines()[1].split() == [
        "primary", "false", "3", "/c", "-", "-", "59s", "upstream", "returned", "429",
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["", "router", "ftp://router", "http://user:hush@router", "http://router?key=hush"])
def test_a_url_that_is_none_exits_2(url: str, tmp_path: Path) -> None:
    result = invoke([*LIST, "--url", url], tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "it has to be an http:// or https:// URL" in result.stderr
    assert "hush" not in result.stderr


def test_nobody_at_a_given_url_exits_1_and_reads_no_file(deaf: dict[str, str], tmp_path: Path) -> None:
    result = invoke([*LIST, "--url", f"http://127.0.0.1:{deaf['ROUTER_PORT']}"], tmp_path, deaf)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: no router answers at http://127.0.0.1:{deaf['ROUTER_PORT']}: Connection refused\n"


# --- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (59.4, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90000, "1d01h"), (604800, "7d00h")],
)
def test_a_time_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert lasting(seconds) == shown


@pytest.mark.parametrize(
    ("account", "expires", "cooldown", "note"),
    [
        (ListedAccount("a", True, 1), "-", "-", "-"),
        (ListedAccount("a", True, 1, kind="oauth", expires_at=1090.0), "1m30s", "-", "-"),
        (ListedAccount("a", True, 1, kind="oauth", expires_at=90.0, expired=True), "expired", "-", "-"),
        (ListedAccount("a", False, 1, kind="oauth", needs_login=True), "-", "-", "has to be logged in again"),
        (
            ListedAccount("a", False, 1, needs_login=True, last_error="no usable credential"),
            "-", "-", "no usable credential",
        ),
        (
            ListedAccount(
                "a", False, 1, last_error="upstream returned 429", cooldown_remaining_seconds=61, cooldown_cause="why",
                cooldowns=[ListedCooldown("why", 61)],
            ),
            "-", "1m01s (why)", "upstream returned 429",
        ),
        (ListedAccount("a", False, 1, cooldown_remaining_seconds=5), "-", "5s", "-"),
        (ListedAccount("a", True, 1, cooldowns=[ListedCooldown("why", 7200, "m")]), "-", "2h00m for m (why)", "-"),
    ],
)  # fmt: skip
def test_a_row_says_when_a_login_ends_and_what_keeps_an_account_out(
    account: ListedAccount, expires: str, cooldown: str, note: str
) -> None:
    assert cells(account, 1000.0)[5:] == [expires, cooldown, note]
