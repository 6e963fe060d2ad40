"""Several processes keep one login alive, whose refresh tokens are good for one use."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest

from cli.practice import PracticeUpstream
from cli.practice.answers import Answer, Context
from cli.practice.oauth import TOKEN_PATH, Logins
from protocol.config import CLIENT_ID
from protocol.identity.login_file import recovery_path
from protocol.identity.refresh import RefreshSettings, TokenReady
from protocol.values import BaseUrl
from tests.contracts.checkout import ROOT
from tests.live.routers import LOOPS, RouterProcess, new_token
from tests.support.practice import user_says
from tests.support.refresh_driver import RefreshDriver, session_in
from transports.credential_file import DRAFT_SUFFIX

SECONDS: Final = 90.0
"""When it has failed; on an idle machine it takes less than ten."""
LIFETIME: Final = 0.04
AHEAD: Final = 0.02
AT_EXPIRY: Final = 0.0
"""About when Claude Code renews a token that whole routers need: they renew it so late where nothing lives longer."""
LONGER_LIFETIME: Final = 0.15
"""For whole routers: what is renewed has to outlive the time that a busy machine takes to hand it on."""
ROUNDS: Final = int(os.environ.get("REFRESH_ROUNDS", "40"))
"""Renewals that clients of whole routers sit through; `make deep` has more."""
LENIENCE: Final = 5.0
"""For so many seconds the provider goes on to take an access token, lest a slow machine make a request come late."""

TROUBLES: Final = (b"logged in again", b"cannot be renewed", b"only in memory", b"internal error")
"""What a router says when something went wrong."""

pytestmark = pytest.mark.slow


class WatchedLogins(Logins):
    """Notes who sends which refresh token."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, str]] = []

    def answer(self, body: bytes, context: Context) -> Answer:
        fields = json.loads(body)
        self.sent.append((fields["client_id"], fields["refresh_token"]))
        return super().answer(body, context)

    def check(self, access: str, wall: float) -> None:
        super().check(access, wall - LENIENCE)


class Race:
    """One credential file, one token endpoint, and processes that share them."""

    def __init__(self, upstream: PracticeUpstream, folder: Path) -> None:
        self.upstream = upstream
        self.logins = upstream.logins = WatchedLogins()
        self.folder = folder
        self.path = folder / "home" / ".claude" / ".credentials.json"
        self.data_dir = folder / "home" / ".link-assistant-router"
        self.stories: list[dict[str, Any]] = []
        self.logins.lifetime = LIFETIME
        self.logins.standing = "wait=5"
        self.path.parent.mkdir(parents=True)
        self.path.write_text(json.dumps({"mcpOAuth": {"kept": [1, 2.50]}, **self.logins.new().credentials()}))
        self.path.chmod(0o640)

    @property
    def url(self) -> str:
        return self.upstream.origin + TOKEN_PATH.decode()

    def run(self, *roles: str, rounds: int, ahead: float = AHEAD) -> None:
        """Until there have been so many refreshes."""
        with self._processes(roles, ahead) as processes:
            self._watch(rounds)
            self.stories = [json.loads(process.communicate()[0]) for process in processes]

    @contextmanager
    def routers(self) -> Iterator[list[RouterProcess]]:
        """A whole router on each loop, side by side, each with its loop's name for a client id."""
        self.logins.lifetime = LONGER_LIFETIME
        with ExitStack() as stack:
            routers = [
                stack.enter_context(
                    RouterProcess(
                        loop,
                        self.folder,
                        self.upstream.origin,
                        OAUTH_REFRESH="file",
                        OAUTH_TOKEN_URL=self.url,
                        OAUTH_CLIENT_ID=loop,
                        OAUTH_REFRESH_AHEAD_SECS=str(AHEAD),
                    )
                )
                for loop in LOOPS
            ]
            yield routers
            for router in routers:
                router.send_signal(signal.SIGTERM)  # killed in the middle of a renewal it would lose the login
                assert router.exit_code() == 0

    def make_home_read_only(self) -> None:
        """Whoever runs this: root is not kept out by a mode, but no draft can be made where a directory is."""
        Path(f"{self.path}{DRAFT_SUFFIX}").mkdir()
        self.path.parent.chmod(0o555)

    def _watch(self, rounds: int) -> None:
        give_up_at = time.monotonic() + SECONDS
        while self.logins.refreshed < rounds and time.monotonic() < give_up_at:
            self.upstream.until(lambda: self.logins.refreshed >= rounds, 0.1)
        assert self.logins.refreshed >= rounds

    @contextmanager
    def _processes(self, roles: tuple[str, ...], ahead: float) -> Iterator[list[subprocess.Popen[str]]]:
        module = "tests.support.refresh_driver"
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, role, self.path, self.data_dir, self.url, str(ahead)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for role in roles
        ]  # fmt: skip
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def sent_by(self, *clients: str) -> Counter[str]:
        """How often each refresh token was sent by one of these."""
        return Counter(refresh for client, refresh in self.logins.sent if client in clients)

    def login_lives(self) -> bool:
        """Whoever comes next can use the file and renew what is in it."""
        self.logins.standing = ""
        settings = RefreshSettings(endpoint=BaseUrl.parse(self.url), ahead=AHEAD)
        later = RefreshDriver(self.path, self.data_dir, settings)
        time.sleep(self.logins.lifetime)  # real time: the token in the file has expired now
        later.token()
        return any(isinstance(outcome, TokenReady) for outcome in later.outcomes)


class Clients:
    """Clients that send a message through each router as soon as the last one is answered."""

    def __init__(self, routers: list[RouterProcess]) -> None:
        self.served = 0
        self.troubles: list[str] = []
        self._over = Event()
        self._threads = [Thread(target=self._ask, args=[router]) for router in routers]

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def _ask(self, router: RouterProcess) -> None:
        connection = http.client.HTTPConnection(router.address, timeout=SECONDS)
        headers = {"authorization": f"Bearer {new_token()}", "content-type": "application/json"}
        try:
            while not self._over.wait(0.002):
                connection.request("POST", "/v1/messages", user_says("hello"), headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    self.served += 1
                else:
                    self.troubles.append(f"{answer.status} {body!r}")
        finally:
            connection.close()


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    upstream = PracticeUpstream()
    race = Race(upstream, tmp_path)
    with upstream:
        yield race
    race.path.parent.chmod(0o755)


def test_two_routers_never_send_a_refresh_token_twice(race: Race) -> None:
    race.run("router", "router", rounds=50)
    assert (race.logins.overlapping, race.logins.reused) == (0, 0)
    assert all(story["outcomes"]["TokenReady"] > 5 for story in race.stories)
    assert [story["lost"] for story in race.stories] == [[], []]
    assert race.login_lives()


def test_no_login_is_lost_beside_a_claude_code_that_takes_no_lock(race: Race) -> None:
    """It may send a token while a router does, which nobody can prevent; the one that is denied takes over what the
    other got. Among themselves the routers still send each token once.
    """
    race.run("router", "router", "claude", rounds=60)
    assert [story["lost"] for story in race.stories] == [[], [], []]
    assert race.stories[2]["statuses"]["200"] > 0
    assert max(race.sent_by(CLIENT_ID).values()) == 1
    assert race.login_lives()
    assert json.loads(race.path.read_bytes())["mcpOAuth"] == {"kept": [1, 2.50]}
    assert session_in(race.path)["subscriptionType"] == "max"


def test_clients_of_two_whole_routers_notice_nothing_of_renewals(race: Race) -> None:
    with race.routers() as routers:
        clients = Clients(routers)
        with clients.asking():
            race.run("claude", rounds=ROUNDS, ahead=AT_EXPIRY)
        assert clients.troubles == []
        assert clients.served > ROUNDS
        assert all(b"login of account primary was renewed" in router.output for router in routers)
        assert not any(trouble in router.output for router in routers for trouble in TROUBLES)
    assert race.stories[0]["statuses"]["200"] > 0
    assert race.stories[0]["lost"] == []
    assert max(race.sent_by(*LOOPS).values()) == 1
    assert race.login_lives()
    assert json.loads(race.path.read_bytes())["mcpOAuth"] == {"kept": [1, 2.50]}


def test_two_whole_routers_share_a_login_whose_file_they_cannot_write(race: Race) -> None:
    race.make_home_read_only()
    before = race.path.read_bytes()
    with race.routers() as routers:
        clients = Clients(routers)
        with clients.asking():
            race.run(rounds=12)
        assert clients.troubles == []
        assert all(b"is kept in the recovery copy" in router.output for router in routers)
        assert not any(trouble in router.output for router in routers for trouble in TROUBLES)
    assert (race.logins.overlapping, race.logins.reused) == (0, 0)
    assert race.path.read_bytes() == before
    assert Path(recovery_path(str(race.data_dir), str(race.path))).stat().st_mode & 0o777 == 0o600
    assert race.login_lives()
