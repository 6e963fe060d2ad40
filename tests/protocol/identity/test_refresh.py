from collections.abc import Sequence
from itertools import product

import msgspec
import pytest

from protocol.errors import LocalError
from protocol.files import FileContent, Missing
from protocol.identity.refresh import (
    ANSWER_SECONDS,
    FORCED_INTERVAL,
    LIFECYCLE,
    LOCK_PATIENCE_SECONDS,
    REPAIR_INTERVAL,
    SETTLE_SECONDS,
    Abandon,
    Ask,
    LoginLost,
    NotKept,
    Order,
    Phase,
    Postponed,
    Refresher,
    RefreshSettings,
    TokenReady,
)
from protocol.login_jobs import (
    FileResult,
    LockBusy,
    LockLogin,
    Login,
    LoginRead,
    LoginSaved,
    Place,
    ReadLogin,
    SaveLogin,
    Superseded,
    Unlocked,
    UnlockLogin,
    WorkFailed,
)
from protocol.values import Headers, Secret

PATH = "/home/me/.claude/.credentials.json"
WALL = 1_800_000_000.0
NOTHING = Missing()


def link(number: int, expires_in: float | None = 28_800.0) -> Login:
    """One link of the chain of logins, expiring so many seconds after ``WALL``."""
    refresh = Secret(f"sk-ant-ort01-{number}")
    return Login(Secret(f"sk-ant-oat01-{number}"), refresh, None if expires_in is None else WALL + expires_in)


def file_with(login: Login) -> bytes:
    session: dict[str, object] = {"accessToken": login.access.reveal()}
    if login.refresh is not None:
        session["refreshToken"] = login.refresh.reveal()
    if login.expires_at is not None:
        session["expiresAt"] = round(login.expires_at * 1000)
    return msgspec.json.encode({"claudeAiOauth": session})


def grant(number: int, lifetime: float = 28_800.0, *, rotated: bool = True) -> bytes:
    fields: dict[str, object] = {"access_token": f"sk-ant-oat01-{number}", "expires_in": lifetime}
    if rotated:
        fields["refresh_token"] = f"sk-ant-ort01-{number}"
    return msgspec.json.encode(fields)


def refusal(code: str) -> bytes:
    return msgspec.json.encode({"error": code})


class Scene:
    """A refresher on a virtual clock; each input returns the orders that it caused."""

    def __init__(self, file: FileContent, recovery: FileContent = NOTHING, **settings: bool | float) -> None:
        self.now = 1000.0
        chosen = RefreshSettings(keep=bool(settings.get("keep", True)), ahead=float(settings.get("ahead", 300.0)))
        self.refresher = Refresher(PATH, chosen, lambda size: b"\x80" * size)
        self.refresher.seen(file, recovery)

    @property
    def wall(self) -> float:
        return WALL + self.now - 1000.0

    @property
    def token(self) -> str | None:
        credential = self.refresher.credential
        return None if credential is None else credential.token.reveal()

    def wants(self) -> list[Order]:
        return self.refresher.token_wanted(self.now, self.wall)

    def refuses(self, login: Login) -> list[Order]:
        return self.refresher.unauthorized(login.access, self.now)

    def done(self, result: FileResult) -> list[Order]:
        return self.refresher.work_done(result, self.now, self.wall)

    def reads(self, file: FileContent, recovery: FileContent = NOTHING) -> list[Order]:
        return self.done(LoginRead(file, recovery))

    def answers(self, status: int, body: bytes, headers: Headers | None = None) -> list[Order]:
        return self.refresher.answered(status, headers or [], body, self.now, self.wall)

    def waits(self, seconds: float) -> list[Order]:
        self.now += seconds
        return self.refresher.timed_out(self.now)

    def renews(self, old: Login, number: int, lifetime: float = 28_800.0) -> None:
        """One whole uneventful renewal."""
        assert self.wants() == [LockLogin(PATH)]
        self.reads(file_with(old))
        self.answers(200, grant(number, lifetime))
        assert self.done(LoginSaved(Place.FILE)) == [UnlockLogin(PATH)]
        assert self.done(Unlocked()) == []


def kinds(orders: Sequence[Order]) -> list[type]:
    return [type(order) for order in orders]


SOON = link(1, expires_in=299)
LATER = link(1, expires_in=301)
OVER = link(1, expires_in=-1)


# --- when -------------------------------------------------------------------------------------------------------------


def test_a_token_is_renewed_five_minutes_before_it_expires_and_the_new_one_written_back() -> None:
    scene = Scene(file_with(SOON))
    assert scene.wants() == [LockLogin(PATH)]
    [ask] = scene.reads(file_with(SOON))
    assert isinstance(ask, Ask)
    assert ask.refresh == SOON.refresh
    save, ready = scene.answers(200, grant(2))
    assert save == SaveLogin(PATH, SOON, link(2))
    assert isinstance(ready, TokenReady)
    assert ready.renewed
    assert scene.token == ready.credential.token.reveal() == "sk-ant-oat01-2"
    assert scene.done(LoginSaved(Place.FILE)) == [UnlockLogin(PATH)]
    assert scene.done(Unlocked()) == []
    assert scene.wants() == []


@pytest.mark.parametrize(
    "file",
    [
        file_with(LATER),
        file_with(link(1, expires_in=None)),
        file_with(Login(Secret("sk-ant-oat01-1"), None, WALL - 1)),
        b'{"primaryApiKey":"sk-ant-api03-key"}',
        b"{",
        NOTHING,
    ],
)
def test_nothing_is_renewed_that_lives_on_or_cannot_be_prolonged(file: FileContent) -> None:
    assert Scene(file).wants() == []


def test_how_early_is_a_setting() -> None:
    assert Scene(file_with(link(1, 899)), ahead=900.0).wants() == [LockLogin(PATH)]


def test_tokens_that_live_shorter_than_that_are_renewed_at_half_their_life() -> None:
    scene = Scene(file_with(OVER))
    scene.renews(OVER, 2, lifetime=100)
    scene.now += 49
    assert scene.wants() == []
    scene.now += 2
    assert scene.wants() == [LockLogin(PATH)]


def test_the_old_token_is_used_while_it_lives_and_its_renewal_is_under_way_once_only() -> None:
    scene = Scene(file_with(SOON))
    assert scene.wants() == [LockLogin(PATH)]
    assert scene.wants() == []
    assert scene.refuses(SOON) == []
    assert scene.refresher.alive(scene.wall)
    assert scene.token == "sk-ant-oat01-1"
    assert scene.refresher.pending


def test_a_refused_token_is_renewed_although_it_should_live() -> None:
    scene = Scene(file_with(LATER))
    assert scene.refuses(LATER) == [LockLogin(PATH)]
    assert kinds(scene.reads(file_with(LATER))) == [Ask]


def test_a_refused_token_that_is_not_the_current_one_renews_nothing() -> None:
    assert Scene(file_with(LATER)).refuses(link(7)) == []


def test_a_refused_token_is_replaced_by_a_newer_one_in_the_file_without_asking() -> None:
    scene = Scene(file_with(LATER))
    scene.refuses(LATER)
    unlock, ready = scene.reads(file_with(link(2)))
    assert unlock == UnlockLogin(PATH)
    assert isinstance(ready, TokenReady)
    assert not ready.renewed
    assert scene.token == "sk-ant-oat01-2"


def test_an_account_that_is_refused_again_and_again_is_not_renewed_every_time() -> None:
    scene = Scene(file_with(LATER))
    scene.refuses(LATER)
    scene.reads(file_with(LATER))
    scene.answers(200, grant(2))
    scene.done(LoginSaved(Place.FILE))
    scene.done(Unlocked())
    assert scene.refuses(link(2)) == []
    scene.now += FORCED_INTERVAL
    assert scene.refuses(link(2)) == [LockLogin(PATH)]


# --- other processes --------------------------------------------------------------------------------------------------


def test_a_token_that_another_process_has_renewed_meanwhile_is_taken_over() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    assert kinds(scene.reads(file_with(link(2)))) == [UnlockLogin, TokenReady]
    assert scene.done(Unlocked()) == []
    assert scene.wants() == []


def test_a_busy_lock_is_waited_for() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    committed = [scene.refresher.committed]
    assert scene.done(LockBusy()) == []
    assert [*committed, scene.refresher.committed] == [True, False], "a shutdown need not wait for somebody else"
    assert scene.waits(0.04) == []
    assert scene.waits(0.06) == [LockLogin(PATH)]
    assert kinds(scene.reads(file_with(SOON))) == [Ask]


def test_a_lock_that_is_never_free_postpones_the_renewal() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.now += LOCK_PATIENCE_SECONDS
    [postponed] = scene.done(LockBusy())
    assert isinstance(postponed, Postponed)
    assert "another process" in postponed.reason
    assert scene.wants() == []
    scene.now = postponed.until
    assert scene.wants() == [LockLogin(PATH)]


def test_a_lock_that_cannot_be_had_at_all_postpones_the_renewal() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    [postponed] = scene.done(WorkFailed("Permission denied"))
    assert isinstance(postponed, Postponed)
    assert "Permission denied" in postponed.reason
    assert not scene.refresher.pending


def test_a_login_that_was_removed_meanwhile_is_a_logout() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    assert kinds(scene.reads(NOTHING)) == [UnlockLogin, Postponed]
    assert scene.token is None


def test_a_denied_token_that_somebody_else_has_spent_is_replaced_by_what_they_got() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    assert scene.answers(400, refusal("invalid_grant")) == [ReadLogin(PATH)]
    assert scene.reads(file_with(SOON)) == []  # the other one has not written yet
    assert scene.waits(0.3) == [ReadLogin(PATH)]
    unlock, ready = scene.reads(file_with(link(2)))
    assert unlock == UnlockLogin(PATH)
    assert isinstance(ready, TokenReady)
    assert scene.token == "sk-ant-oat01-2"
    assert not scene.refresher.needs_login


def test_a_newer_link_that_has_to_be_renewed_too_is_tried_once() -> None:
    scene = Scene(file_with(OVER))
    scene.wants()
    scene.reads(file_with(OVER))
    scene.answers(400, refusal("invalid_grant"))
    [ask] = scene.reads(file_with(link(2, expires_in=0)))
    assert isinstance(ask, Ask)
    assert ask.refresh == link(2).refresh
    scene.answers(400, refusal("invalid_grant"))
    assert kinds(scene.reads(file_with(link(3, expires_in=0)))) == [UnlockLogin, Postponed]


def test_an_older_link_of_ours_is_not_sent_again_after_somebody_else_went_on() -> None:
    scene = Scene(file_with(OVER))
    scene.renews(OVER, 2, lifetime=10)
    scene.now += 10
    scene.wants()
    scene.reads(file_with(link(3, expires_in=5)))  # got with our link 2, by somebody who takes no lock
    scene.answers(400, refusal("invalid_grant"))
    assert scene.reads(file_with(link(3, expires_in=5))) == []
    assert scene.refresher.phase is Phase.SETTLING


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    list(
        product([400, 401, 403], ["invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type"])
    ),
)
def test_a_login_that_is_refused_for_good_is_lost_after_the_file_had_its_time(status: int, code: str) -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    assert scene.answers(status, refusal(code)) == [ReadLogin(PATH)]
    scene.now += SETTLE_SECONDS
    unlock, lost = scene.reads(file_with(SOON))
    assert unlock == UnlockLogin(PATH)
    assert isinstance(lost, LoginLost)
    assert code in lost.reason
    scene.done(Unlocked())
    assert scene.refresher.needs_login
    assert scene.refresher.alive(scene.wall)  # for its last minutes
    assert scene.wants() == []
    assert scene.refuses(SOON) == []


def test_a_new_login_in_the_file_ends_that() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    scene.answers(400, refusal("invalid_grant"))
    scene.now += SETTLE_SECONDS
    scene.reads(file_with(SOON))
    scene.done(Unlocked())
    scene.refresher.seen(file_with(link(9, 60)), NOTHING)
    assert not scene.refresher.needs_login
    assert scene.wants() == [LockLogin(PATH)]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (529, refusal("overloaded_error")),
        (429, refusal("rate_limit_error")),
        (408, b""),
        (302, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (500, refusal("invalid_grant")),
    ],
)
def test_a_passing_failure_keeps_the_old_token_and_backs_off(status: int, body: bytes) -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    unlock, postponed = scene.answers(status, body)
    assert unlock == UnlockLogin(PATH)
    assert isinstance(postponed, Postponed)
    scene.done(Unlocked())
    assert scene.token == "sk-ant-oat01-1"
    assert scene.wants() == []
    scene.now = postponed.until
    assert scene.wants() == [LockLogin(PATH)]


@pytest.mark.parametrize(("status", "code"), [(404, "not_found_error"), (400, "invalid_request"), (422, "no such")])
def test_any_other_denial_has_the_file_read_again_and_is_tried_later(status: int, code: str) -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    assert scene.answers(status, refusal(code)) == [ReadLogin(PATH)]
    assert kinds(scene.reads(file_with(SOON))) == [UnlockLogin, Postponed]
    assert not scene.refresher.needs_login


def test_retry_after_is_honoured_in_seconds_and_as_a_date() -> None:
    for value, seconds in [(b"120", 120.0), (b"Fri, 15 Jan 2027 08:10:00 GMT", 600.0)]:
        scene = Scene(file_with(SOON))
        scene.wants()
        scene.reads(file_with(SOON))
        _, postponed = scene.answers(429, b"", [(b"retry-after", value)])
        assert isinstance(postponed, Postponed)
        assert postponed.until == scene.now + seconds


def test_the_back_off_grows_to_five_minutes_and_ends_with_a_success() -> None:
    scene = Scene(file_with(SOON))
    delays = []
    for _ in range(9):
        scene.wants()
        scene.reads(file_with(SOON))
        _, postponed = scene.answers(500, b"")
        assert isinstance(postponed, Postponed)
        delays.append(postponed.until - scene.now)
        scene.done(Unlocked())
        scene.now = postponed.until
    assert delays == sorted(delays)
    assert (delays[0], delays[1], delays[-1]) == (3.75, 7.5, 225.0)  # three quarters, by the lot drawn here
    scene.renews(SOON, 2, lifetime=100)
    scene.now += 60
    scene.wants()
    scene.reads(file_with(link(2, expires_in=0)))
    _, postponed = scene.answers(500, b"")
    assert isinstance(postponed, Postponed)
    assert postponed.until - scene.now == 3.75


def test_an_endpoint_that_cannot_be_reached_is_a_passing_failure() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    assert kinds(scene.refresher.unanswered("connection refused", scene.now)) == [UnlockLogin, Postponed]


def test_an_endpoint_that_is_silent_is_abandoned_and_the_lock_given_back() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    assert scene.waits(ANSWER_SECONDS - 1) == []
    assert kinds(scene.waits(1)) == [Abandon, UnlockLogin, Postponed]


def test_a_refresh_token_that_is_not_rotated_stays() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    save, _ = scene.answers(200, grant(2, rotated=False))
    assert isinstance(save, SaveLogin)
    assert save.renewed == Login(Secret("sk-ant-oat01-2"), SOON.refresh, WALL + 28_800)
    scene.done(LoginSaved(Place.FILE))
    scene.done(Unlocked())
    assert scene.token == "sk-ant-oat01-2"
    assert not scene.refresher.needs_login


def test_a_renewed_token_is_used_even_if_it_expires_before_the_refused_one() -> None:
    scene = Scene(file_with(LATER), keep=False)
    scene.refuses(LATER)
    scene.reads(file_with(LATER))
    scene.answers(200, grant(2, lifetime=10, rotated=False))
    scene.done(Unlocked())
    scene.refresher.seen(file_with(LATER), NOTHING)
    assert scene.token == "sk-ant-oat01-2"


# --- where it is kept -------------------------------------------------------------------------------------------------


def test_a_login_that_somebody_wrote_meanwhile_wins_over_ours() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    scene.answers(200, grant(2))
    assert scene.done(Superseded(file_with(link(8)))) == [UnlockLogin(PATH)]
    assert scene.token == "sk-ant-oat01-8"


def test_a_recovery_copy_is_used_until_the_file_is_newer() -> None:
    scene = Scene(file_with(OVER), file_with(link(2)))
    assert scene.token == "sk-ant-oat01-2"
    scene.refresher.seen(file_with(link(3, 30_000)), file_with(link(2)))
    assert scene.token == "sk-ant-oat01-3"


def test_a_home_that_cannot_be_written_is_told_and_does_not_stop_anything() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    scene.answers(200, grant(2))
    assert scene.done(LoginSaved(Place.RECOVERY, "Read-only file system")) == [
        UnlockLogin(PATH),
        NotKept(Place.RECOVERY, "Read-only file system"),
    ]
    scene.done(Unlocked())
    scene.refresher.seen(file_with(SOON), file_with(link(2)))
    assert scene.token == "sk-ant-oat01-2"
    assert scene.wants() == []


def test_a_renewal_from_the_recovery_copy_knows_what_the_file_holds() -> None:
    scene = Scene(file_with(OVER), file_with(link(2, 10)))
    scene.wants()
    scene.reads(file_with(OVER), file_with(link(2, 10)))
    save, _ = scene.answers(200, grant(3))
    assert save == SaveLogin(PATH, OVER, link(3))
    scene.done(LoginSaved(Place.RECOVERY, "Read-only file system"))
    assert scene.token == "sk-ant-oat01-3"


def test_a_login_that_could_not_be_written_at_all_stays_in_memory_and_is_written_later() -> None:
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    scene.answers(200, grant(2))
    assert scene.done(WorkFailed("No space left on device")) == [
        UnlockLogin(PATH),
        NotKept(None, "No space left on device"),
    ]
    scene.done(Unlocked())
    scene.refresher.seen(file_with(SOON), NOTHING)
    assert scene.token == "sk-ant-oat01-2"
    scene.now += REPAIR_INTERVAL
    assert scene.wants() == [LockLogin(PATH)]
    save, ready = scene.reads(file_with(SOON))
    assert save == SaveLogin(PATH, SOON, link(2))
    assert isinstance(ready, TokenReady)


def test_an_old_login_that_a_program_wrote_back_is_replaced_by_the_newest() -> None:
    scene = Scene(file_with(SOON))
    scene.renews(SOON, 2)
    scene.now += REPAIR_INTERVAL
    scene.refresher.seen(file_with(SOON), NOTHING)
    assert scene.token == "sk-ant-oat01-2"
    assert scene.wants() == [LockLogin(PATH)]
    save, _ = scene.reads(file_with(SOON))
    assert save == SaveLogin(PATH, SOON, link(2))


def test_another_login_in_the_file_is_used_even_if_ours_would_live_longer() -> None:
    scene = Scene(file_with(SOON))
    scene.renews(SOON, 2)
    scene.refresher.seen(file_with(link(9, 3600)), NOTHING)
    assert scene.token == "sk-ant-oat01-9"


def test_a_file_that_is_being_written_leaves_the_login_as_it_was() -> None:
    scene = Scene(file_with(SOON))
    scene.renews(SOON, 2)
    scene.refresher.seen(file_with(link(2))[:40], NOTHING)
    assert scene.token == "sk-ant-oat01-2"


def test_without_keeping_no_file_is_written() -> None:
    scene = Scene(file_with(SOON), keep=False)
    scene.wants()
    scene.reads(file_with(SOON))
    assert kinds(scene.answers(200, grant(2))) == [UnlockLogin, TokenReady]
    scene.done(Unlocked())
    scene.refresher.seen(file_with(SOON), NOTHING)
    assert scene.token == "sk-ant-oat01-2"
    scene.now += REPAIR_INTERVAL
    assert scene.wants() == []


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_phase_has_its_followers_and_only_unlocking_leads_out_of_the_lock() -> None:
    assert set(LIFECYCLE) == set(Phase)
    locked = {Phase.ASKING, Phase.REREADING, Phase.SETTLING, Phase.SAVING}
    for phase in locked:
        assert LIFECYCLE[phase] <= locked | {Phase.UNLOCKING}


def test_facts_out_of_turn_are_our_own_fault() -> None:
    scene = Scene(file_with(LATER))
    with pytest.raises(LocalError):
        scene.answers(200, grant(2))
    with pytest.raises(LocalError):
        scene.refresher.unanswered("", scene.now)
    with pytest.raises(LocalError):
        scene.done(Unlocked())
    scene = Scene(file_with(SOON))
    scene.wants()
    scene.reads(file_with(SOON))
    scene.answers(200, grant(2))
    with pytest.raises(LocalError):
        scene.done(Unlocked())


def test_no_order_shows_a_secret() -> None:
    scene = Scene(file_with(SOON))
    orders = [*scene.wants(), *scene.reads(file_with(SOON)), *scene.answers(200, grant(2))]
    assert "sk-ant" not in repr(orders)
