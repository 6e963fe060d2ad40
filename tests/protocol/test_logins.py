"""Keeping credentials current: one look at the files for everybody who asks, and a renewal carried out step by step."""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from protocol.commands import Job, JobResult, LoadFiles, LogLevel, WorkOnLogin
from protocol.effects import Failed, FailureKind
from protocol.egress import Destination
from protocol.errors import LocalError
from protocol.files import FileContent, FilesUnchanged, UpdateFailed
from protocol.identity.accounts import Account
from protocol.identity.login_file import recovery_path
from protocol.identity.refresh import ANSWER_SECONDS, Refresher, RefreshSettings
from protocol.login_jobs import UnlockLogin
from protocol.logins import LOOK_SECONDS, AccountKeeper, NewCommand
from protocol.ports import CredentialWaiter
from protocol.timers import Timers
from protocol.values import JobId, Origin, ResponseHead, Secret
from tests.support.play import Connection
from transports.memory import MemoryDisk

FILE = "/home/credentials.json"
WALL = 1_710_806_400.0


def login(number: int = 0, lifetime: float = 28_800.0) -> bytes:
    fields = {
        "accessToken": f"sk-ant-oat01-{number}",
        "refreshToken": f"sk-ant-ort01-{number}",
        "expiresAt": round((WALL + lifetime) * 1000),
    }
    return json.dumps({"claudeAiOauth": fields}).encode()


class Waiter(CredentialWaiter):
    def __init__(self) -> None:
        self.woken = 0

    def credentials_checked(self) -> None:
        self.woken += 1


class House:
    """Everything around one keeper; what it orders is done when the test says so."""

    def __init__(self, content: FileContent | None = None, *, keep: bool = True) -> None:
        self.now = 0.0
        self.timers = Timers()
        self.files: dict[str, FileContent] = {} if content is None else {FILE: content}
        self.disk = MemoryDisk(self.files, "/data")
        self.orders: deque[tuple[Job, Callable[[JobResult], None]]] = deque()
        self.connections: list[Connection] = []
        self.lines: list[tuple[LogLevel, str]] = []
        self.seen = 0
        settings = RefreshSettings(keep=keep)
        account = Account("primary", "/home", "/data", lambda path: Refresher(path, settings, bytes))
        self.keeper = AccountKeeper(account, self)

    # What the keeper needs

    @property
    def wall(self) -> float:
        return WALL + self.now

    def open_channel(self, origin: Origin, *, fresh: bool, destination: Destination | None = None) -> Connection:
        assert fresh
        self.connections.append(Connection())
        return self.connections[-1]

    def order(self, command: NewCommand, done: Callable[[JobResult], None]) -> None:
        self.orders.append((cast("Job", command(JobId(len(self.orders)))), done))

    def wake(self, waiter: CredentialWaiter) -> None:
        waiter.credentials_checked()

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None:
        self.lines.append((level, event))

    def credential_seen(self, account: Account) -> None:
        self.seen += 1

    # What the test does

    def works(self) -> None:
        """All that is ordered is done, and what that leads to."""
        while self.orders:
            job, done = self.orders.popleft()
            done(self.disk.carry_out(job))

    def passes(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.timers.deadline()) is not None and due <= until:
            self.now = due
            while (found := self.timers.take_due(due)) is not None:
                found[0].timer_fired(found[1])
            self.works()
        self.now = until

    def answers(self, status: int, body: bytes) -> None:
        """The token endpoint does."""
        events = self.connections[-1].events
        events.upstream_ready()
        events.upstream_head(ResponseHead(status, []))
        events.upstream_body(body)
        events.upstream_end()

    def grants(self, number: int = 1) -> None:
        pair = {"access_token": f"sk-ant-oat01-{number}", "refresh_token": f"sk-ant-ort01-{number}", "expires_in": 3600}
        self.answers(200, json.dumps(pair).encode())

    @property
    def token(self) -> str | None:
        credential = self.keeper.account.credential
        return None if credential is None else credential.token.reveal()

    def checks(self, refused: str | None = None, *, renewal: bool = True) -> Waiter:
        waiter = Waiter()
        self.keeper.check(waiter, None if refused is None else Secret(refused), renewal=renewal)
        return waiter


# --- looking ----------------------------------------------------------------------------------------------------------


def test_one_look_serves_everybody_who_asks_meanwhile() -> None:
    house = House(login())
    waiters = [house.checks() for _ in range(3)]
    house.keeper.check()
    assert [type(job) for job, _ in house.orders] == [LoadFiles]
    assert (house.keeper.waiting, [waiter.woken for waiter in waiters]) == (3, [0, 0, 0])
    house.works()
    assert (house.keeper.waiting, [waiter.woken for waiter in waiters]) == (0, [1, 1, 1])
    assert (house.token, house.seen) == ("sk-ant-oat01-0", 1)


def test_who_is_woken_may_ask_again_at_once() -> None:
    house = House(login())

    class Eager(Waiter):
        def credentials_checked(self) -> None:
            super().credentials_checked()
            if self.woken == 1:
                house.keeper.check(self)

    eager = Eager()
    house.keeper.check(eager)
    house.works()
    assert (eager.woken, house.keeper.waiting) == (2, 0)


def test_what_is_found_is_told_to_the_operator() -> None:
    house = House(login())
    house.keeper.check()
    house.works()
    house.files.clear()
    house.keeper.check()
    house.works()
    assert house.lines == [
        (LogLevel.INFO, f"account primary uses the credential from {FILE}"),
        (LogLevel.WARN, "account primary has no usable credential"),
    ]


@pytest.mark.parametrize("content", [None, b"{", b'{"accessToken":"sk-ant-oat01-x"}', b'{"apiKey":"sk-ant-api03-x"}'])
def test_without_a_login_that_can_be_renewed_nobody_waits_for_more_than_the_look(content: FileContent | None) -> None:
    house = House(content)
    waiter = house.checks("sk-ant-oat01-x")
    house.works()
    assert waiter.woken == 1
    assert house.connections == []


def test_a_look_that_fails_keeps_what_is_known_and_the_next_one_is_made() -> None:
    house = House(login(lifetime=10_000))
    house.keeper.check()
    house.works()
    waiter = Waiter()
    house.keeper.check(waiter)
    _, looked = house.orders.popleft()
    looked(UpdateFailed("no threads left"))
    assert waiter.woken == 1
    house.keeper.check()
    assert isinstance(house.orders.popleft()[0], LoadFiles)


def test_a_result_of_another_kind_is_a_fault_of_ours() -> None:
    house = House(login(lifetime=10))
    house.keeper.check()
    job, looked = house.orders.popleft()
    looked(house.disk.carry_out(job))
    _, worked = house.orders.popleft()
    with pytest.raises(LocalError, match="work on a login"):
        worked(FilesUnchanged())


# --- renewing ---------------------------------------------------------------------------------------------------------


def test_a_login_that_is_about_to_end_is_renewed_under_its_lock_and_saved() -> None:
    house = House(login(lifetime=200))
    house.keeper.check()
    house.works()
    assert house.disk.locked == {FILE}
    assert house.keeper.busy
    house.grants()
    house.works()
    assert house.token == "sk-ant-oat01-1"
    assert b"sk-ant-ort01-1" in cast("bytes", house.files[FILE])
    assert (house.disk.locked, house.keeper.busy, house.timers.deadline()) == (set(), False, None)
    assert (LogLevel.INFO, "the login of account primary was renewed") in house.lines


def test_who_has_a_token_that_lives_does_not_wait_for_its_renewal() -> None:
    house = House(login(lifetime=200))
    waiter = house.checks()
    house.works()
    assert (waiter.woken, len(house.connections)) == (1, 1)


def test_who_has_an_expired_token_waits_for_its_renewal_unless_a_look_will_do() -> None:
    house = House(login(lifetime=-5))
    patient, curious = house.checks(), house.checks(renewal=False)
    house.works()
    assert (patient.woken, curious.woken, house.keeper.waiting) == (0, 1, 1)
    house.grants()
    assert patient.woken == 1, "before the disk has the new login"
    house.works()
    assert patient.woken == 1


def test_who_was_refused_a_token_waits_for_another_one() -> None:
    house = House(login())
    refused, other = house.checks("sk-ant-oat01-0"), house.checks()
    house.works()
    assert (refused.woken, other.woken) == (0, 1)
    house.grants()
    assert refused.woken == 1


def test_a_token_that_was_replaced_since_it_was_refused_is_not_renewed() -> None:
    house = House(login(7))
    waiter = house.checks("sk-ant-oat01-0")
    house.works()
    assert (waiter.woken, house.connections) == (1, [])


@pytest.mark.parametrize("status", [429, 500])
def test_a_renewal_that_is_put_off_wakes_who_waits_and_is_a_warning(status: int) -> None:
    house = House(login(lifetime=-5))
    waiter = house.checks()
    house.works()
    house.answers(status, b"")
    assert waiter.woken == 1
    house.works()
    assert (LogLevel.WARN, "the login of account primary cannot be renewed now") in house.lines
    assert not house.keeper.busy


def test_a_connection_that_fails_puts_the_renewal_off() -> None:
    house = House(login(lifetime=-5))
    waiter = house.checks()
    house.works()
    house.connections[-1].events.upstream_failed(Failed(FailureKind.UNREACHABLE, "connection refused", 0.0))
    assert waiter.woken == 1


def test_an_answer_that_does_not_come_is_given_up() -> None:
    house = House(login(lifetime=-5))
    waiter = house.checks()
    house.works()
    house.passes(ANSWER_SECONDS)
    assert house.connections[-1].cancelled
    assert waiter.woken == 1
    assert not house.keeper.busy


def test_a_login_that_is_lost_is_an_error_once_the_file_had_its_time() -> None:
    house = House(login(lifetime=-5))
    waiter = house.checks()
    house.works()
    house.answers(400, b'{"error":"invalid_grant"}')
    house.works()
    assert waiter.woken == 0
    house.passes(6)
    assert waiter.woken == 1
    assert house.lines[-1] == (LogLevel.ERROR, "account primary has to be logged in again")


def test_a_login_that_cannot_be_kept_in_its_file_is_a_warning_that_says_where_it_is() -> None:
    house = House(login(lifetime=-5))
    house.disk.read_only.add(FILE)
    house.keeper.check()
    house.works()
    house.grants()
    house.works()
    assert recovery_path("/data", FILE) in house.files
    expected = "the renewed login of account primary is kept in the recovery copy in the data directory"
    assert (LogLevel.WARN, expected) in house.lines


def test_in_memory_mode_the_lock_is_all_that_is_asked_of_the_disk() -> None:
    house = House(login(lifetime=-5), keep=False)
    before = dict(house.files)
    house.keeper.check()
    house.works()
    house.grants()
    assert [job.work for job, _ in house.orders if isinstance(job, WorkOnLogin)] == [UnlockLogin(FILE)]
    house.works()
    assert house.files == before
    assert house.token == "sk-ant-oat01-1"


def test_somebody_else_s_lock_is_waited_for_but_not_by_a_shutdown() -> None:
    house = House(login(lifetime=-5))
    house.disk.locked.add(FILE)
    waiter = house.checks()
    house.works()
    assert (waiter.woken, house.keeper.busy) == (0, False)
    house.files[FILE] = login(3)
    house.disk.locked.clear()
    house.passes(0.2)
    assert (waiter.woken, house.token, house.connections) == (1, "sk-ant-oat01-3", [])


def test_time_is_kept_only_while_it_is_needed() -> None:
    house = House(login(lifetime=-5))
    house.keeper.check()
    house.works()
    assert house.timers.deadline() == ANSWER_SECONDS
    house.grants()
    house.works()
    assert house.timers.deadline() is None
    assert house.timers.take_due(1e9) is None


def test_whoever_waits_for_a_disk_that_hangs_goes_on_with_what_is_known() -> None:
    house = House(login(lifetime=10_000))
    house.keeper.check()
    house.works()
    waiter = Waiter()
    house.keeper.check(waiter)
    house.passes(LOOK_SECONDS)
    assert waiter.woken == 1
    house.works()
    assert waiter.woken == 1, "and is not told twice"
