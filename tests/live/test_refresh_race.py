"""Several processes keep one login alive, whose refresh tokens are good for one use."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from cli.practice import PracticeUpstream
from cli.practice.oauth import TOKEN_PATH
from protocol.identity.refresh import RefreshSettings, TokenReady
from protocol.values import BaseUrl
from tests.contracts.checkout import ROOT
from tests.support.refresh_driver import RefreshDriver, session_in

SECONDS: Final = 30.0
"""When it has failed; on an idle machine it takes less than ten."""
LIFETIME: Final = 0.04
AHEAD: Final = 0.02

pytestmark = pytest.mark.slow


class Race:
    """One credential file, one token endpoint, and processes that share them."""

    def __init__(self, upstream: PracticeUpstream, folder: Path) -> None:
        self.upstream = upstream
        self.path = folder / ".credentials.json"
        self.data_dir = folder / "data"
        self.stories: list[dict[str, Any]] = []
        upstream.logins.lifetime = LIFETIME
        upstream.logins.standing = "wait=5"
        self.path.write_text(json.dumps({"mcpOAuth": {"kept": [1, 2.50]}, **upstream.logins.new().credentials()}))
        self.path.chmod(0o640)

    @property
    def url(self) -> str:
        return self.upstream.origin + TOKEN_PATH.decode()

    def run(self, *roles: str, rounds: int) -> None:
        """Until there have been so many refreshes."""
        started = time.monotonic()
        with self._processes(roles) as processes:
            while self.upstream.logins.refreshed < rounds and time.monotonic() - started < SECONDS:
                self.upstream.until(lambda: self.upstream.logins.refreshed >= rounds, 0.1)
            self.stories = [json.loads(process.communicate()[0]) for process in processes]
        assert self.upstream.logins.refreshed >= rounds

    @contextmanager
    def _processes(self, roles: tuple[str, ...]) -> Iterator[list[subprocess.Popen[str]]]:
        module = "tests.support.refresh_driver"
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, role, self.path, self.data_dir, self.url, str(AHEAD)],
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

    def sent_by_routers(self) -> Counter[str]:
        """How often each refresh token was sent by a router."""
        return Counter(
            json.loads(record.body)["refresh_token"]
            for record in self.upstream.requests
            if record.target == TOKEN_PATH.decode() and record.header("user-agent") == ["link-assistant-router"]
        )

    def login_lives(self) -> bool:
        """Whoever comes next can use the file and renew what is in it."""
        self.upstream.logins.standing = ""
        settings = RefreshSettings(endpoint=BaseUrl.parse(self.url), ahead=AHEAD)
        later = RefreshDriver(self.path, self.data_dir, settings)
        time.sleep(LIFETIME)  # real time: the token in the file has expired now
        later.token()
        return any(isinstance(outcome, TokenReady) for outcome in later.outcomes)


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    with PracticeUpstream() as upstream:
        yield Race(upstream, tmp_path)


def test_two_routers_never_send_a_refresh_token_twice(race: Race) -> None:
    race.run("router", "router", rounds=100)
    assert (race.upstream.logins.overlapping, race.upstream.logins.reused) == (0, 0)
    assert all(story["outcomes"]["TokenReady"] > 10 for story in race.stories)
    assert [story["lost"] for story in race.stories] == [[], []]
    assert race.login_lives()


def test_no_login_is_lost_beside_a_claude_code_that_takes_no_lock(race: Race) -> None:
    """It may send a token while a router does, which nobody can prevent; the one that is denied takes over what the
    other got. Among themselves the routers still send each token once.
    """
    race.run("router", "router", "claude", rounds=200)
    assert [story["lost"] for story in race.stories] == [[], [], []]
    assert race.stories[2]["statuses"]["200"] > 0
    assert max(race.sent_by_routers().values()) == 1
    assert race.login_lives()
    assert json.loads(race.path.read_bytes())["mcpOAuth"] == {"kept": [1, 2.50]}
    assert session_in(race.path)["subscriptionType"] == "max"
