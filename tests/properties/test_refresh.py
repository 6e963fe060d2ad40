"""Whatever happens to a login, its refresh token is sent under the lock only, and never one that is known as spent."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.files import FileContent, Missing, Unreadable
from protocol.identity.credentials import Kind, find_credential
from protocol.identity.login_file import NotMergeable, merge_login, read_login, recovery_content
from protocol.identity.refresh import (
    ANSWER_SECONDS,
    LOCK_PATIENCE_SECONDS,
    SETTLE_SECONDS,
    Abandon,
    Ask,
    LoginLost,
    NotKept,
    Order,
    Postponed,
    Refresher,
    RefreshSettings,
    TokenReady,
)
from protocol.identity.token_endpoint import Denied, Granted, Unavailable, read_answer
from protocol.login_jobs import (
    FileWork,
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
from protocol.values import Secret

WALL = 1_800_000_000.0

TOKENS = st.sampled_from(
    ["sk-ant-oat01-a", "sk-ant-oat01-b", " sk-ant-oat01-c ", "sk-ant-api03-k", "sk-ant-ort01-r", "x", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
HOLDERS = st.fixed_dictionaries(
    {},
    optional={
        "accessToken": TOKENS | JSON,
        "access_token": TOKENS,
        "oauthToken": TOKENS,
        "apiKey": TOKENS,
        "refreshToken": st.sampled_from(["sk-ant-ort01-a", "sk-ant-ort01-b"]) | JSON,
        "refresh_token": st.sampled_from(["sk-ant-ort01-c"]),
        "expiresAt": st.integers(0, 2 * 10**12) | st.sampled_from(["2027-01-15T08:00:00Z", "soon"]) | JSON,
        "expires_at": st.integers(0, 2 * 10**9) | JSON,
        "scopes": JSON,
        "unknown": JSON,
    },
)
FILES = st.one_of(
    HOLDERS,
    st.builds(lambda flat, nested: {**flat, "claudeAiOauth": nested}, HOLDERS, HOLDERS | JSON),
    st.builds(lambda flat, nested: {**flat, "claude_ai_oauth": nested}, HOLDERS, HOLDERS),
).map(msgspec.json.encode)
NEW = Login(Secret("sk-ant-oat01-new"), Secret("sk-ant-ort01-new"), 1_999_999_999.125)


@given(FILES)
def test_the_login_of_a_file_is_the_credential_that_is_found_there(content: bytes) -> None:
    login, found = read_login(content), find_credential([("file", content)], wall=0.0).credential
    if found is None or found.kind is Kind.API_KEY:
        assert login is None
    else:
        assert login is not None
        assert (login.access, login.expires_at) == (found.token, found.expires_at)


@given(FILES)
def test_a_merged_login_reads_back_and_everything_else_is_as_it_was(content: bytes) -> None:
    before = read_login(content)
    if before is None:
        return
    merged = merge_login(content, before, NEW)
    assert merged is not None
    after = read_login(merged)
    assert after is not None
    assert after.expires_at is not None
    assert (after.access, after.refresh, int(after.expires_at)) == (NEW.access, NEW.refresh, 1_999_999_999)
    tokens = {"accessToken", "access_token", "oauthToken", "apiKey", "refreshToken", "refresh_token"}
    changeable = tokens | {"expiresAt", "expires_at"}
    assert unchanged(msgspec.json.decode(content), changeable) == unchanged(msgspec.json.decode(merged), changeable)


def unchanged(fields: object, changeable: set[str]) -> object:
    if not isinstance(fields, dict):
        return fields
    nested = ("claudeAiOauth", "claude_ai_oauth")
    return {
        name: unchanged(value, changeable) if name in nested else value
        for name, value in fields.items()
        if name not in changeable
    }


@given(st.binary(max_size=200) | FILES.flatmap(lambda file: st.integers(0, len(file)).map(lambda end: file[:end])))
def test_any_bytes_are_a_login_or_none(content: bytes) -> None:
    if read_login(content) is None:
        try:
            merge_login(content, NEW, NEW)
        except NotMergeable:
            return
        raise AssertionError("merged into nothing")


@given(
    status=st.integers(100, 999),
    headers=st.lists(st.tuples(st.sampled_from([b"retry-after", b"content-type"]), st.binary(max_size=40)), max_size=3),
    body=st.binary(max_size=100) | JSON.map(msgspec.json.encode) | FILES,
)
def test_any_answer_of_the_endpoint_is_one_of_three(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    answer = read_answer(status, headers, body, WALL)
    assert isinstance(answer, Granted | Denied | Unavailable)
    assert "sk-ant" not in repr(answer)


class RefreshMachine(RuleBasedStateMachine):
    """One refresher against a provider that rotates, a file that others write, and a disk that fails at times.

    The model knows which link of the chain is good. Others who renew the login do it as Claude Code does, without a
    lock; what they got is in the file some time later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.links = 0
        self.good = self.link(60)
        self.file: FileContent = recovery_content(self.good)
        self.copy: FileContent = Missing()
        self.unwritten: Login | None = None
        self.locked = False
        self.work: FileWork | None = None
        self.ask: Ask | None = None
        self.sent: set[Secret] = set()
        self.known_spent: set[Secret] = set()
        self.outcomes: list[Order] = []

    @initialize(ahead=st.sampled_from([0.0, 300.0]), keep=st.booleans())
    def start(self, ahead: float, keep: bool) -> None:
        self.keep = keep
        self.refresher = Refresher("/f", RefreshSettings(ahead=ahead, keep=keep), lambda size: b"\x00" * size)
        self.refresher.seen(self.file, self.copy)

    def link(self, lifetime: float) -> Login:
        self.links += 1
        name = f"{self.links:04d}"
        return Login(Secret(f"sk-ant-oat01-{name}"), Secret(f"sk-ant-ort01-{name}"), round(self.wall + lifetime, 3))

    @property
    def wall(self) -> float:
        return WALL + self.now

    def take(self, orders: list[Order]) -> None:
        assert "sk-ant" not in repr(orders)
        for order in orders:
            match order:
                case LockLogin() | ReadLogin() | SaveLogin() | UnlockLogin():
                    assert self.work is None
                    assert isinstance(order, LockLogin) is not self.locked
                    assert not isinstance(order, SaveLogin) or self.keep
                    self.work = order
                case Ask(refresh=refresh):
                    assert self.locked
                    assert refresh not in self.known_spent
                    self.ask = order
                    self.sent.add(refresh)
                case Abandon():
                    assert self.ask is not None
                    self.ask = None
                case TokenReady() | Postponed() | LoginLost():
                    assert not self.refresher.pending
                    self.outcomes.append(order)
                case NotKept():
                    pass

    @rule()
    def somebody_wants_the_token(self) -> None:
        self.take(self.refresher.token_wanted(self.now, self.wall))

    @rule()
    def the_token_is_refused(self) -> None:
        credential = self.refresher.credential
        if credential is not None:
            self.take(self.refresher.unauthorized(credential.token, self.now))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 70.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        """As far as the next deadline at most."""
        deadline = self.refresher.deadline()
        self.now = self.now + seconds if deadline is None else max(self.now, min(self.now + seconds, deadline))
        self.take(self.refresher.timed_out(self.now))

    @rule()
    def the_files_are_looked_at(self) -> None:
        self.refresher.seen(self.file, self.copy)

    @precondition(lambda self: self.unwritten is None)
    @rule(lifetime=st.sampled_from([1.0, 100.0, 28_800.0]))
    def somebody_else_renews(self, lifetime: float) -> None:
        found = read_login(self.file)
        if found is not None and found.refresh == self.good.refresh:
            self.good = self.unwritten = self.link(lifetime)

    @precondition(lambda self: self.unwritten is not None)
    @rule()
    def somebody_else_writes(self) -> None:
        assert self.unwritten is not None
        self.file, self.unwritten = recovery_content(self.unwritten), None

    @rule()
    def a_person_logs_in(self) -> None:
        self.good, self.unwritten = self.link(28_800.0), None
        self.file = recovery_content(self.good)

    @rule(content=st.sampled_from([b"", Unreadable("no"), Missing()]))
    def the_file_is_spoiled(self, content: FileContent) -> None:
        self.file = content

    @precondition(lambda self: self.ask is not None)
    @rule(lifetime=st.sampled_from([1.0, 100.0, 28_800.0]), rotates=st.booleans())
    def the_endpoint_decides(self, lifetime: float, rotates: bool) -> None:
        assert self.ask is not None
        refresh, self.ask = self.ask.refresh, None
        if refresh != self.good.refresh:
            self.known_spent.add(refresh)
            self.take(self.refresher.answered(400, [], b'{"error":"invalid_grant"}', self.now, self.wall))
            return
        renewed = self.link(lifetime)
        fields: dict[str, object] = {"access_token": renewed.access.reveal(), "expires_in": lifetime}
        if rotates:
            assert renewed.refresh is not None
            fields["refresh_token"] = renewed.refresh.reveal()
            self.known_spent.add(refresh)
            self.good = renewed
        self.take(self.refresher.answered(200, [], msgspec.json.encode(fields), self.now, self.wall))
        credential = self.refresher.credential
        assert credential is None or credential.token == renewed.access

    @precondition(lambda self: self.ask is not None)
    @rule(status=st.sampled_from([200, 302, 404, 429, 500]), body=st.binary(max_size=20))
    def the_endpoint_fails(self, status: int, body: bytes) -> None:
        self.ask = None
        self.take(self.refresher.answered(status, [], body, self.now, self.wall))

    @precondition(lambda self: self.ask is not None)
    @rule()
    def the_endpoint_is_gone(self) -> None:
        self.ask = None
        self.take(self.refresher.unanswered("reset", self.now))

    @precondition(lambda self: self.work is not None)
    @rule(fails=st.sampled_from([False, False, False, True]), busy=st.booleans())
    def the_disk_answers(self, fails: bool, busy: bool) -> None:
        work, self.work = self.work, None
        match work:
            case LockLogin() if busy:
                self.done(LockBusy())
            case LockLogin() if fails:
                self.done(WorkFailed("no"))
            case LockLogin() | ReadLogin():
                self.locked = True
                self.done(LoginRead(self.file, self.copy))
            case SaveLogin(replaced=replaced, renewed=renewed):
                self.save(replaced, renewed, fails=fails)
            case UnlockLogin():
                self.locked = False
                self.done(Unlocked())

    def save(self, replaced: Login, renewed: Login, *, fails: bool) -> None:
        try:
            merged = merge_login(self.file, replaced, renewed)
        except NotMergeable:
            fails, merged = True, b""
        if fails:
            self.copy = recovery_content(renewed)
            self.done(LoginSaved(Place.RECOVERY, "no"))
        elif merged is None:
            self.done(Superseded(self.file))
        else:
            self.file, self.copy = merged, Missing()
            self.done(LoginSaved(Place.FILE))

    def done(self, result: LoginRead | LockBusy | WorkFailed | LoginSaved | Superseded | Unlocked) -> None:
        self.take(self.refresher.work_done(result, self.now, self.wall))

    @invariant()
    def something_always_comes_next(self) -> None:
        """A renewal under way waits for exactly one thing, and for no more than a known time."""
        if not hasattr(self, "refresher"):
            return
        deadline = self.refresher.deadline()
        waiting = [self.work is not None, self.ask is not None]
        if not self.refresher.busy:
            assert not any(waiting)
            assert deadline is None
            assert not self.locked
            assert not self.refresher.pending
        else:
            assert any(waiting) or deadline is not None
            longest = max(ANSWER_SECONDS, LOCK_PATIENCE_SECONDS, SETTLE_SECONDS)
            assert deadline is None or deadline <= self.now + longest


TestRefreshMachine = RefreshMachine.TestCase
