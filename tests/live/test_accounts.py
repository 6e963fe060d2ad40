"""Several accounts behind one router, as the official client and the provider see them."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx2
import pytest

from cli.practice import PracticeUpstream
from cli.practice.oauth import TOKEN_PATH, PracticeLogin
from protocol.identity.login_file import recovery_path
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.routers import PATIENCE, RunningRouter
from transports.credential_file import DRAFT_SUFFIX

NAMES: Final = ("primary", "account-1", "account-2")
CONVERSATIONS: Final = [f"conversation {number}" for number in range(9)]
"""So many that each account has some."""

SPENT: Final = "error=429; window=5h; reset=600"
TROUBLES: Final = {
    "a spent window": (SPENT, r"account account-1 is out for \d+ s: usage window used up \(5h\)"),
    "a retry-after": ("error=429; retry-after=30", r"account account-1 is out for 30 s: rate limited with retry-after"),
    "an overload": ("error=529", r"account account-1 is out for \d+ s: upstream overloaded or failing"),
}
"""What one account answers while the others are well, and what the log says to that."""

pytestmark = pytest.mark.slow


class House:
    """The operator's side: a directory for each account, logins at the practice upstream, and routers before it."""

    def __init__(self, upstream: PracticeUpstream, folder: Path, loop: str) -> None:
        self.upstream = upstream
        self.data_dir = folder / "data"
        self.homes = [folder / name for name in NAMES]
        self.logins: dict[str, PracticeLogin] = {}
        self._loop = loop

    def logs_in(self, name: str, *, lifetime: float = 3600.0) -> PracticeLogin:
        """Somebody logs in with Claude Code, which writes its file."""
        login = self.logins[name] = self.upstream.logins.new(lifetime=lifetime)
        path = self.file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"mcpOAuth": {"kept": 1}, **login.credentials()}))
        return login

    def file(self, name: str) -> Path:
        return self.homes[NAMES.index(name)] / ".credentials.json"

    def copy(self, name: str) -> Path:
        """Where a renewed login goes that the file cannot take."""
        return Path(recovery_path(str(self.data_dir), str(self.file(name))))

    def router(self, accounts: int = len(NAMES), **settings: str) -> RunningRouter:
        chosen = {
            "CLAUDE_CODE_HOME": str(self.homes[0]),
            "ADDITIONAL_ACCOUNT_DIRS": ",".join(map(str, self.homes[1:accounts])),
            "DATA_DIR": str(self.data_dir),
            "OAUTH_REFRESH": "file",
            "OAUTH_TOKEN_URL": self.upstream.origin + TOKEN_PATH.decode(),
            **settings,
        }
        return RunningRouter(self._loop, self.upstream.origin, **chosen)

    def secrets(self) -> list[str]:
        return [secret for login in self.logins.values() for secret in (login.access, login.refresh)]

    def asked(self) -> list[str]:
        """Which access tokens the Messages API was asked with, the oldest first."""
        return [
            value.removeprefix("Bearer ")
            for record in self.upstream.requests
            if record.target == "/v1/messages"
            for value in record.header("authorization")
        ]


@pytest.fixture
def house(loop: str, tmp_path: Path) -> Iterator[House]:
    with PracticeUpstream(credentials=()) as upstream:
        yield House(upstream, tmp_path, loop)
    for home in tmp_path.iterdir():
        home.chmod(0o755)


def talk(client: anthropic.Anthropic, text: str) -> str:
    """One message; a router that passes it on whole gives back what was said."""
    answer = client.messages.create(**ask(text))
    return "".join(block.text for block in answer.content if block.type == "text")


def talk_together(client: anthropic.Anthropic, times: int = 16) -> None:
    """Requests side by side, of conversations that know nothing of each other; each is answered."""
    with ThreadPoolExecutor(times) as threads:
        answers = list(threads.map(lambda number: talk(client, f"side by side {number}"), range(times)))
    assert all(answers)


def accounts(router: RunningRouter) -> dict[str, dict[str, Any]]:
    """``GET /v1/accounts`` by name."""
    shown: list[dict[str, Any]] = httpx2.get(f"{router.origin}/v1/accounts").json()["accounts"]
    return {account["name"]: account for account in shown}


def told(router: RunningRouter) -> list[str]:
    return [log.event for log in router.logs]


def in_time(happened: Callable[[], bool]) -> bool:
    """Whether it happens, tried again and again: files are looked at once a second."""
    give_up_at = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


# --- one account in trouble -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "line"), TROUBLES.values(), ids=TROUBLES)
def test_clients_see_nothing_of_an_account_in_trouble(house: House, trouble: str, line: str) -> None:
    for name in NAMES:
        house.logs_in(name)
    house.upstream.orders[house.logins["account-1"].access] = trouble
    with house.router() as router, new_client(router.origin) as client:
        for text in CONVERSATIONS:
            assert talk(client, text)
            with client.messages.stream(**ask(f"{text}, streamed")) as stream:
                assert stream.get_final_message().stop_reason == "end_turn"
        shown = accounts(router)
    refused = house.asked().count(house.logins["account-1"].access)
    assert 1 <= refused <= 4, "it is left alone for a while"
    assert sum(account["used"] for account in shown.values()) == 2 * len(CONVERSATIONS) + refused
    assert any(re.fullmatch(line, event) for event in told(router))
    assert not any(secret in repr(router.logs) for secret in house.secrets())


def test_when_all_are_limited_the_client_is_told_when_the_first_is_free(house: House) -> None:
    for name, seconds in zip(NAMES, (900, 300, 600), strict=True):
        house.upstream.orders[house.logs_in(name).access] = f"error=429; window=5h; reset={seconds}"
    with house.router() as router, new_client(router.origin) as client:
        for _ in range(2):
            with pytest.raises(anthropic.RateLimitError) as refused:
                talk(client, "hello")
            assert refused.value.type == "rate_limit_error"
            assert 295 <= int(refused.value.response.headers["retry-after"]) <= 301
    assert len(house.asked()) == len(NAMES), "and nobody is asked twice"


def test_a_conversation_stays_with_its_account_until_that_is_limited(house: House) -> None:
    for name in NAMES:
        house.logs_in(name)
    with house.router() as router, new_client(router.origin) as client:
        for number in range(6):
            client.messages.create(**ask(f"turn {number}"), extra_headers={"x-claude-code-session-id": "one session"})
        (first,) = set(house.asked())
        house.upstream.orders[first] = SPENT
        for number in range(6):
            client.messages.create(**ask(f"later {number}"), extra_headers={"x-claude-code-session-id": "one session"})
        later = house.asked()[7:]
    assert len(later) == 6
    assert len(set(later)) == 1
    assert first not in later


# --- directories come and go ------------------------------------------------------------------------------------------


def test_a_login_that_appears_is_used_and_one_that_goes_is_not_any_more(house: House) -> None:
    primary = house.logs_in("primary")
    with house.router() as router, new_client(router.origin) as client:
        assert talk(client, "hello")
        assert accounts(router)["account-2"]["needs_login"]
        appeared = house.logs_in("account-2")
        assert in_time(lambda: bool(talk(client, f"at {time.monotonic()}")) and appeared.access in house.asked())
        assert accounts(router)["account-2"]["healthy"]

        house.file("primary").unlink()
        assert in_time(lambda: not accounts(router)["primary"]["healthy"])
        before = len(house.asked())
        for text in CONVERSATIONS:
            assert talk(client, text)
        assert primary.access not in house.asked()[before:]
        assert "account primary is out: no usable credential" in told(router)


# --- logins are renewed -----------------------------------------------------------------------------------------------


def test_a_login_is_renewed_ahead_of_its_expiry_once_and_nobody_waits_for_it(house: House) -> None:
    old = house.logs_in("primary", lifetime=60)
    house.upstream.logins.standing = "wait=2000"
    with house.router(1) as router, new_client(router.origin) as client:
        talk_together(client)
        assert old.access in house.asked()
        assert in_time(lambda: talk(client, "hello") != "" and house.asked()[-1] != old.access)
    assert (house.upstream.logins.asked, house.upstream.logins.refreshed) == (1, 1)
    kept = json.loads(house.file("primary").read_bytes())
    assert (kept["claudeAiOauth"]["accessToken"], kept["mcpOAuth"]) == (house.asked()[-1], {"kept": 1})


def test_requests_that_need_a_new_token_wait_for_the_one_renewal(house: House) -> None:
    old = house.logs_in("primary", lifetime=-60)
    house.upstream.logins.standing = "wait=200"
    with house.router(1) as router, new_client(router.origin) as client:
        talk_together(client)
        assert old.access not in house.asked()
        assert len(set(house.asked())) == 1
    assert house.upstream.logins.asked == 1


def test_a_token_that_the_provider_refuses_before_its_time_is_renewed_once(house: House) -> None:
    old = house.logs_in("primary")
    house.upstream.logins.revoke(old.access)
    with house.router(1) as router, new_client(router.origin) as client:
        talk_together(client)
        assert accounts(router)["primary"]["healthy"]
    assert house.upstream.logins.asked == 1


def test_a_login_in_a_home_that_cannot_be_written_is_kept_in_the_data_directory(house: House) -> None:
    house.logs_in("primary", lifetime=-60)
    Path(f"{house.file('primary')}{DRAFT_SUFFIX}").mkdir()  # root is not kept out by a mode
    house.file("primary").parent.chmod(0o555)
    before = house.file("primary").read_bytes()
    for _ in range(2):
        with house.router(1) as router, new_client(router.origin) as client:
            talk_together(client)
    assert house.upstream.logins.asked == 1, "the second router finds what the first one got"
    assert house.file("primary").read_bytes() == before
    assert house.copy("primary").stat().st_mode & 0o777 == 0o600
    assert house.copy("primary").parent.stat().st_mode & 0o777 == 0o700


def test_in_memory_only_nothing_is_written_anywhere(house: House) -> None:
    house.logs_in("primary", lifetime=-60)
    before = house.file("primary").read_bytes()
    with house.router(1, OAUTH_REFRESH="memory") as router, new_client(router.origin) as client:
        talk_together(client)
    assert house.upstream.logins.asked == 1
    assert house.file("primary").read_bytes() == before
    assert [path.name for path in house.file("primary").parent.iterdir()] == [".credentials.json"]
    assert not house.copy("primary").parent.exists()


def test_while_a_login_is_renewed_the_other_accounts_answer(house: House) -> None:
    house.logs_in("primary", lifetime=-60)
    other = house.logs_in("account-1")
    house.upstream.logins.standing = "wait=60000"
    with house.router(2) as router, new_client(router.origin, timeout=PATIENCE) as client:
        for text in CONVERSATIONS:
            assert talk(client, text)
    assert house.upstream.logins.asked == 1
    assert set(house.asked()) == {other.access}
