"""A router's refreshing and nothing else of a router: the core's state machine over blocking calls, as one process.

``python -m tests.support.refresh_driver router|claude FILE DATA_DIR TOKEN_URL AHEAD`` keeps the login in FILE alive
until its standard input ends, then prints what it saw as JSON. ``claude`` stands for Claude Code: it takes no lock,
reads the file right before it asks and again before it writes, and takes a denial for a reason to read once more. It
asks so many seconds ahead of the expiry as well, but now a little sooner and now a little later than that.
"""

import http.client
import json
import os
import random
import secrets
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.practice.oauth import TOKEN_PATH
from protocol.effects import UpstreamRequest
from protocol.identity.credentials import Credential
from protocol.identity.login_file import read_login, recovery_path
from protocol.identity.refresh import Abandon, Ask, LoginLost, NotKept, Order, Refresher, RefreshSettings
from protocol.login_jobs import LockLogin, ReadLogin, SaveLogin, UnlockLogin
from protocol.values import BaseUrl
from transports.credential_file import CredentialFiles
from transports.disk import load

PATIENCE = 5.0
JITTER = 0.02


class RefreshDriver:
    """Does at once what the core orders; ``outcomes`` is what it told in the end."""

    def __init__(self, path: Path, data_dir: Path, settings: RefreshSettings) -> None:
        self.refresher = Refresher(str(path), settings, secrets.token_bytes)
        self.files = CredentialFiles(str(data_dir), keep=settings.keep)
        self.outcomes: list[Order] = []
        self._paths = [str(path), recovery_path(str(data_dir), str(path))]

    def token(self) -> Credential | None:
        """The credential to use now, renewed if it is time."""
        self.look()
        self._carry_out(self.refresher.token_wanted(time.monotonic(), time.time()))
        return self.refresher.credential

    def unauthorized(self, credential: Credential) -> None:
        self._carry_out(self.refresher.unauthorized(credential.token, time.monotonic()))

    def look(self) -> None:
        found = load(self._paths, None)
        (_, file), (_, recovery) = found.files  # type: ignore[union-attr]  # without a fingerprint it is FilesLoaded
        self.refresher.seen(file, recovery)

    def _carry_out(self, orders: Iterable[Order]) -> None:
        waiting = deque(orders)
        while True:
            while waiting:
                waiting.extend(self._carried_out(waiting.popleft()))
            deadline = self.refresher.deadline()
            if deadline is None:
                return
            time.sleep(max(0.0, deadline - time.monotonic()))
            waiting.extend(self.refresher.timed_out(time.monotonic()))

    def _carried_out(self, order: Order) -> list[Order]:
        match order:
            case LockLogin() | ReadLogin() | SaveLogin() | UnlockLogin():
                result = self.files.carry_out(order)
                return self.refresher.work_done(result, time.monotonic(), time.time())
            case Ask():
                try:
                    status, headers, body = asked(order.request())
                except OSError as error:
                    return self.refresher.unanswered(str(error), time.monotonic())
                return self.refresher.answered(status, headers, body, time.monotonic(), time.time())
            case Abandon():
                return []
            case outcome:
                self.outcomes.append(outcome)
                return []


def asked(request: UpstreamRequest) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    connection = http.client.HTTPConnection(request.origin.host, request.origin.port, timeout=10)
    try:
        fields = {name.decode(): value.decode() for name, value in request.head.headers}
        connection.request(request.head.method.decode(), request.head.target.decode(), request.body, fields)
        answer = connection.getresponse()
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.getheaders()]
        return answer.status, headers, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(type(error).__name__) from error
    finally:
        connection.close()


@dataclass
class Story:
    """What one process saw: ``lost`` says why a login could not be kept, ``outcomes`` counts by kind."""

    kind: str
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)


def router(path: Path, data_dir: Path, url: BaseUrl, ahead: float) -> Story:
    driver = RefreshDriver(path, data_dir, RefreshSettings(endpoint=url, ahead=ahead))
    story = Story("router")
    turn = 0
    while goes_on(0.002):
        credential = driver.token()
        turn += 1
        if credential is None:
            story.lost.append("no credential")
        elif turn % 20 == 0 and driver.refresher.alive(time.time()):
            status = used(url, credential)
            story.statuses[status] += 1
            if status == 401:
                driver.unauthorized(credential)
    story.outcomes.update(type(outcome).__name__ for outcome in driver.outcomes)
    story.lost += [order.reason for order in driver.outcomes if isinstance(order, LoginLost | NotKept)]
    return story


def used(url: BaseUrl, credential: Credential) -> int:
    """The status of a Messages API request made with the credential."""
    connection = http.client.HTTPConnection(url.origin.host, url.origin.port, timeout=10)
    headers = {
        "authorization": f"Bearer {credential.token.reveal()}",
        "anthropic-beta": "oauth-2025-04-20",
        "anthropic-version": "2023-06-01",
    }
    try:
        connection.request("GET", "/v1/models", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def claude(path: Path, url: BaseUrl, ahead: float) -> Story:
    story = Story("claude")
    early = ahead
    while goes_on(0.002):
        session = session_in(path)
        if session["expiresAt"] / 1000 - early > time.time():
            continue
        early = ahead + random.uniform(-JITTER, JITTER)
        body = {"grant_type": "refresh_token", "refresh_token": session["refreshToken"], "client_id": "claude-code"}
        connection = http.client.HTTPConnection(url.origin.host, url.origin.port, timeout=10)
        connection.request(
            "POST", TOKEN_PATH.decode(), json.dumps(body), {"content-type": "application/json", "user-agent": "claude"}
        )
        answer = connection.getresponse()
        fields = json.loads(answer.read())
        connection.close()
        story.statuses[answer.status] += 1
        if answer.status == 200:
            keep(path, fields)
        elif not waited_for_another(path, session["refreshToken"]):
            story.lost.append("nobody wrote a newer login")
            return story
    return story


def session_in(path: Path) -> dict[str, Any]:
    session: dict[str, Any] = json.loads(path.read_bytes())["claudeAiOauth"]
    return session


def keep(path: Path, fields: dict[str, Any]) -> None:
    whole = json.loads(path.read_bytes())
    whole["claudeAiOauth"] |= {
        "accessToken": fields["access_token"],
        "refreshToken": fields["refresh_token"],
        "expiresAt": round((time.time() + fields["expires_in"]) * 1000),
    }
    draft = path.with_name(".claude-draft")
    draft.write_text(json.dumps(whole))
    os.replace(draft, path)


def waited_for_another(path: Path, refresh: str) -> bool:
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        found = read_login(path.read_bytes())
        if found is not None and found.refresh is not None and found.refresh.reveal() != refresh:
            return True
        time.sleep(0.01)
    return False


def goes_on(pause: float) -> bool:
    """False once standard input has ended; waits a moment otherwise, never twice the same."""
    readable, _, _ = select.select([sys.stdin], [], [], random.uniform(0, pause))
    return not readable


def main() -> None:
    role, path, data_dir, url, ahead = sys.argv[1:]
    if role == "router":
        story = router(Path(path), Path(data_dir), BaseUrl.parse(url), float(ahead))
    else:
        story = claude(Path(path), BaseUrl.parse(url), float(ahead))
    print(json.dumps(vars(story)))


if __name__ == "__main__":
    main()
