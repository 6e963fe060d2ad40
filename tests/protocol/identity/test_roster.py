"""All accounts together: who they are, who is asked, and what is made of what they say."""

from dataclasses import replace

import pytest

from protocol.call import Call
from protocol.config import Config, RefreshMode
from protocol.errors import LocalError
from protocol.files import FileContent, FilesLoaded, Missing
from protocol.identity.affinity import Hints
from protocol.identity.cooldowns import Cause
from protocol.identity.pool import Change, Unavailable
from protocol.identity.roster import SWEEP_SECONDS, Roster, name_of, refresher_for
from protocol.values import Headers, Peer, PeerKind, RequestHead, ResponseHead, Secret, Tokens

PLAIN = Config(claude_code_home="/a", additional_account_dirs=("/b", "/c"))
NO_HINTS = Hints()
CONVERSATION = Hints(affinity=b"conversation")


class Told:
    """A roster, and the changes it reported."""

    def __init__(self, config: Config = PLAIN, **files: FileContent) -> None:
        self.changes: list[Change] = []
        self.roster = Roster(config, entropy=bytes, report=self.changes.append)
        for account in self.roster:
            self.sees(account.name, files.get(account.home[1:], session(account.home[1:])))

    def sees(self, name: str, content: FileContent, now: float = 0.0) -> None:
        """The account's first file holds this."""
        account = self.roster[name]
        account.checked(FilesLoaded([(account.paths[0], content)], object()), wall=now, now=now)
        self.roster.credential_seen(account, now, now)

    def chosen(self, hints: Hints = NO_HINTS, now: float = 0.0, *, only: str | None = None) -> str | Unavailable:
        choice = self.roster.choose(hints, None, frozenset(), now, only=only)
        return choice if isinstance(choice, Unavailable) else choice.name

    def asks(self, call: Call, hints: Hints = NO_HINTS, now: float = 0.0) -> str:
        choice = self.roster.choose(hints, None, frozenset(), now)
        assert not isinstance(choice, Unavailable)
        self.roster.began(call, choice, hints, now)
        return choice.name

    def answers(self, call: Call, status: int, headers: Headers | None = None, now: float = 0.0) -> None:
        assert call.account is not None
        self.roster.answered(
            call, self.roster[call.account], ResponseHead(status, headers or []), model=None, counts=True, asked_at=now,
            now=now,
        )  # fmt: skip


def session(token: str) -> bytes:
    return b'{"accessToken": "sk-ant-oat01-%s"}' % token.encode()


def call() -> Call:
    return Call(RequestHead(b"POST", b"/", []), Peer(PeerKind.LOOPBACK, "here"), "req_1", 0.0, 0.0)


# --- who they are -----------------------------------------------------------------------------------------------------


def test_accounts_are_named_by_their_place_as_in_the_original() -> None:
    assert [(account.name, account.home) for account in Told().roster] == [
        ("primary", "/a"), ("account-1", "/b"), ("account-2", "/c"),
    ]  # fmt: skip
    assert [name_of(place) for place in (0, 1, 10)] == ["primary", "account-1", "account-10"]


def test_an_api_key_of_the_environment_is_the_primary_account_s_alone() -> None:
    told = Told(replace(PLAIN, anthropic_api_key=Secret("sk-ant-api03-key")), a=Missing(), b=Missing())
    assert [account.credential is not None for account in told.roster] == [True, False, True]
    assert told.roster["primary"].source == "ANTHROPIC_API_KEY"


@pytest.mark.parametrize(("dirs", "choice"), [((), False), (("/b",), True)])
def test_one_account_leaves_no_choice(dirs: tuple[str, ...], choice: bool) -> None:
    assert Told(replace(PLAIN, additional_account_dirs=dirs)).roster.has_choice == choice


def test_how_logins_are_renewed_follows_the_settings() -> None:
    assert refresher_for(replace(PLAIN, oauth_refresh=RefreshMode.OFF), bytes) is None
    for mode in (RefreshMode.FILE, RefreshMode.MEMORY):
        new_refresher = refresher_for(replace(PLAIN, oauth_refresh=mode, oauth_client_id="id"), bytes)
        assert new_refresher is not None
        assert new_refresher("/a/credentials.json").path == "/a/credentials.json"


# --- who is asked -----------------------------------------------------------------------------------------------------


def test_a_conversation_goes_to_the_account_that_it_was_sent_to_before() -> None:
    told = Told()
    names = [told.asks(call(), hints) for hints in (CONVERSATION, NO_HINTS, CONVERSATION, NO_HINTS, CONVERSATION)]
    assert names == ["primary", "account-1", "primary", "account-2", "primary"]


def test_without_a_time_to_live_or_another_account_no_conversation_is_kept_together() -> None:
    for config in (replace(PLAIN, session_affinity_ttl_secs=None), replace(PLAIN, additional_account_dirs=())):
        told = Told(config)
        told.asks(call(), CONVERSATION)
        told.roster.remember_message("msg_1", "primary", 0.0)
        assert len(told.roster._affinity) == 0


def test_what_is_asked_for_by_its_holder_goes_nowhere_else() -> None:
    told = Told()
    told.roster.remember_resource("file_1", "account-2")
    assert told.roster.holder("file_1") == "account-2"
    assert told.roster.holds_resources
    assert told.chosen(only="account-2") == "account-2"
    told.sees("account-2", Missing())
    refused = told.chosen(only="account-2")
    assert isinstance(refused, Unavailable)
    assert refused.cause is Cause.NO_CREDENTIAL


def test_accounts_without_a_credential_are_looked_at_once_in_a_while() -> None:
    told = Told(b=Missing())
    assert [account.name for account in told.roster.to_look_at(5.0)] == ["account-1"]
    assert told.roster.to_look_at(5.0 + SWEEP_SECONDS / 2) == []
    assert [account.name for account in told.roster.to_look_at(5.0 + SWEEP_SECONDS)] == ["account-1"]


# --- what happens -----------------------------------------------------------------------------------------------------


def in_flight(told: Told) -> list[int]:
    return [snapshot.in_flight for snapshot in told.roster.snapshots(0.0)]


def test_a_call_is_in_flight_with_one_account_at_a_time_and_with_none_when_it_is_over() -> None:
    told, asked = Told(), call()
    assert told.asks(asked) == "primary"
    assert (asked.account, asked.holds, in_flight(told)) == ("primary", "primary", [1, 0, 0])
    with pytest.raises(LocalError, match="one account at a time"):
        told.asks(asked)
    told.roster.ended(asked, 0.0)
    told.roster.ended(asked, 0.0)
    assert (asked.account, asked.holds, in_flight(told)) == ("primary", None, [0, 0, 0])


def test_changes_of_health_are_reported_and_so_is_the_return() -> None:
    told, asked = Told(), call()
    told.asks(asked)
    told.answers(asked, 429, [(b"retry-after", b"30")])
    (out,) = told.changes
    assert (out.account, out.cause, out.out, out.seconds) == ("primary", Cause.RETRY_AFTER, True, 30.0)
    told.chosen(now=29.0)
    assert len(told.changes) == 1
    told.chosen(now=30.0)
    assert [change.out for change in told.changes] == [True, False]


def test_a_failure_and_a_refused_credential_are_reported() -> None:
    told = Told()
    told.roster.failed(told.roster["primary"], "connection refused", asked_at=0.0, now=0.0)
    told.roster.unauthorized(told.roster["account-1"], 0.0)
    assert [change.cause for change in told.changes] == [Cause.UNREACHABLE, Cause.UNAUTHORIZED]


def test_what_an_answer_cost_counts_for_its_account() -> None:
    told = Told()
    told.roster.spent("account-1", Tokens(input=3, output=4), 0.0)
    assert [snapshot.tokens for snapshot in told.roster.snapshots(0.0)][1] == Tokens(input=3, output=4)


@pytest.mark.parametrize(
    ("content", "headers", "hinted"),
    [
        (session("x"), [], True),
        (session("x"), [(b"retry-after", b"3")], False),
        (session("x"), [(b"anthropic-ratelimit-requests-remaining", b"0")], False),
        (b'{"primaryApiKey": "sk-ant-api03-x"}', [], False),
    ],
)
def test_a_429_that_names_no_limit_is_a_hint_only_for_a_subscription(
    content: bytes, headers: Headers, hinted: bool
) -> None:
    told, asked = Told(a=content), call()
    told.asks(asked)
    told.answers(asked, 429, headers)
    assert ("hint" in asked.annotations) == hinted


# --- credentials that come and go -------------------------------------------------------------------------------------


def test_what_is_found_at_the_start_is_no_change() -> None:
    assert Told(b=Missing()).changes == []


def test_a_credential_that_goes_and_one_that_comes_are_reported_once() -> None:
    told = Told()
    for _ in range(2):
        told.sees("primary", Missing())
    assert told.chosen() == "account-1"
    for _ in range(2):
        told.sees("primary", session("other"))
    assert [(change.cause, change.out) for change in told.changes] == [
        (Cause.NO_CREDENTIAL, True), (Cause.NO_CREDENTIAL, False),
    ]  # fmt: skip


def test_another_credential_is_not_to_blame_for_what_the_last_one_did() -> None:
    told, asked = Told(), call()
    told.asks(asked)
    told.answers(asked, 429, [(b"retry-after", b"3600")])
    told.sees("primary", session("a"))
    assert not told.roster.snapshots(0.0)[0].healthy, "it is the same one"
    told.sees("primary", session("other"))
    assert told.roster.snapshots(0.0)[0].healthy
    assert [change.out for change in told.changes] == [True, False]


# --- other settings ---------------------------------------------------------------------------------------------------


def test_accounts_that_stay_keep_their_standing_and_the_others_are_new() -> None:
    told, asked = Told(), call()
    told.asks(asked)
    told.answers(asked, 429, [(b"retry-after", b"3600")])
    primary = told.roster["primary"]
    new = told.roster.reconfigured(replace(PLAIN, additional_account_dirs=("/x", "/c", "/d")), 0.0)
    assert [(account.name, account.home) for account in new] == [("account-1", "/x"), ("account-3", "/d")]
    assert told.roster["primary"] is primary
    assert not told.roster.snapshots(0.0)[0].healthy


def test_an_account_that_is_no_more_holds_nothing_and_says_nothing() -> None:
    told, asked = Told(), call()
    told.roster.remember_resource("file_1", "account-2")
    gone = told.roster["account-2"]
    told.roster.reconfigured(replace(PLAIN, additional_account_dirs=("/b", "/x")), 0.0)
    told.sees("account-2", session("x"))
    gone.checked(FilesLoaded([(gone.paths[0], Missing())], object()), 0.0, 0.0)
    told.roster.credential_seen(gone, 0.0, 0.0)
    assert told.chosen(only="account-2") == "account-2", "the one that goes by this name now"
    told.roster.reconfigured(replace(PLAIN, additional_account_dirs=("/b",)), 0.0)
    assert told.roster.holder("file_1") is None
    told.asks(asked, now=1.0)


def test_an_account_that_comes_back_without_a_credential_is_known_to_have_none() -> None:
    told = Told(c=Missing())
    told.roster.reconfigured(replace(PLAIN, additional_account_dirs=("/b",)), 0.0)
    told.roster.reconfigured(PLAIN, 0.0)
    told.sees("account-2", Missing())
    refused = told.chosen(only="account-2")
    assert isinstance(refused, Unavailable)
    assert refused.cause is Cause.NO_CREDENTIAL
