"""Asking the provider: when a request is sent once more, and when it must not be."""

import pytest

from protocol.call import Call
from protocol.config import Config
from protocol.effects import CheckCredentials, Failed, FailureKind, Fetch, Fetched, Outcome, UpstreamRequest
from protocol.errors import Refusal
from protocol.files import FileContent, FilesLoaded, Missing
from protocol.identity.credentials import Credential
from protocol.identity.roster import Roster
from protocol.scripts.asking import Persistence, Question, ask
from protocol.values import Origin, Peer, PeerKind, RequestHead, ResponseHead
from tests.protocol.conftest import OpenScene
from tests.support.requests import REPLY
from tests.support.scene import Scene
from tests.support.stage import OAUTH_TOKEN

RENEWED = b'{"accessToken": "sk-ant-oat01-renewed"}'
BEARER = b"Bearer sk-ant-oat01-renewed"


def test_a_401_is_tried_once_more_with_a_credential_that_has_changed(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    assert upstream.got()[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
    scene.writes_credentials(RENEWED)
    upstream.replies(b"{}", b"401 Unauthorized", b"Connection: close")
    second = scene.upstream()
    assert second.got()[b"authorization"] == BEARER
    second.replies()
    client.saw(200, REPLY)


def test_a_second_401_is_the_clients_to_see(scene: Scene) -> None:
    client = scene.client().posts()
    first = scene.upstream()
    first.got()
    scene.writes_credentials(RENEWED)
    first.sends(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\n")
    assert first.gone(), "its answer is not waited for"
    second = scene.upstream()
    second.got()
    second.replies(b'{"again":1}', b"401 Unauthorized")
    client.saw(401, b'{"again":1}')
    assert scene.asked_nobody()


def test_a_401_for_an_unchanged_credential_is_the_clients_to_see(scene: Scene) -> None:
    client = scene.client().posts()
    scene.upstream().replies(b'{"no":1}', b"401 Unauthorized")
    client.saw(401, b'{"no":1}')
    assert scene.asked_nobody()


@pytest.mark.parametrize("content", [Missing(), b'{"accessToken": "sk-ant-oat01-ren'], ids=["gone", "half-written"])
def test_a_401_after_which_there_is_no_other_credential_is_the_clients_to_see(
    scene: Scene, content: FileContent
) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    scene.writes_credentials(content)
    upstream.replies(b'{"no":1}', b"401 Unauthorized")
    client.saw(401, b'{"no":1}')
    assert scene.asked_nobody()


def test_a_credential_that_was_half_written_at_the_401_is_used_by_the_next_request(scene: Scene) -> None:
    client = scene.client().posts()
    upstream = scene.upstream()
    upstream.got()
    scene.writes_credentials(RENEWED[:-5])
    upstream.replies(b"{}", b"401 Unauthorized")
    client.saw(401)
    scene.writes_credentials(RENEWED)
    scene.passes(2)
    for bearer in (b"Bearer " + OAUTH_TOKEN.encode(), BEARER):
        client.posts()
        assert upstream.got()[b"authorization"] == bearer
        upstream.replies()
        client.saw(200)


def test_a_401_for_a_body_that_was_not_kept_is_the_clients_to_see(scene_with: OpenScene) -> None:
    scene = scene_with(REPLAY_LIMIT_BYTES="100")
    client = scene.client().posts(b"x" * 101)
    upstream = scene.upstream()
    scene.writes_credentials(RENEWED)
    upstream.replies(b'{"no":1}', b"401 Unauthorized")
    client.saw(401, b'{"no":1}')
    assert scene.asked_nobody()


def test_a_body_that_outgrows_the_limit_during_the_check_is_not_sent_in_part(scene_with: OpenScene) -> None:
    """The upstream answers early, and while the files are read the client goes on sending."""
    scene = scene_with(REPLAY_LIMIT_BYTES="100")
    client = scene.client().begins(200).sends(b"x" * 50)
    upstream = scene.upstream()
    scene.writes_credentials(RENEWED)
    scene.shell.disk_hangs = True
    upstream.replies(b'{"no":1}', b"401 Unauthorized")
    client.sends(b"x" * 100)
    scene.shell.reads()
    client.saw(401, b'{"no":1}')
    assert scene.asked_nobody()


def test_a_body_within_the_limit_goes_on_after_the_check(scene: Scene) -> None:
    client = scene.client().begins(200).sends(b"x" * 50)
    upstream = scene.upstream()
    scene.writes_credentials(RENEWED)
    scene.shell.disk_hangs = True
    upstream.replies(b'{"no":1}', b"401 Unauthorized")
    client.sends(b"y" * 100)
    scene.shell.reads()
    client.sends(b"z" * 50)
    second = scene.upstream()
    second.got(b"x" * 50 + b"y" * 100 + b"z" * 50)
    second.replies()
    client.saw(200, REPLY)


@pytest.mark.parametrize("status", [b"400 Bad Request", b"429 Too Many Requests", b"500 Oops", b"529 Overloaded"])
def test_no_other_error_is_tried_again(scene: Scene, status: bytes) -> None:
    client = scene.client().posts()
    scene.writes_credentials(RENEWED)
    scene.upstream().replies(b'{"verbatim":1}', status, b"Retry-After: 7")
    assert client.saw(int(status[:3]), b'{"verbatim":1}')[b"retry-after"] == b"7"
    assert scene.asked_nobody()


# --- the story by itself ----------------------------------------------------------------------------------------------


class Body:
    """A body that may or may not be sent again."""

    def __init__(self, *, replayable: bool) -> None:
        self.replayable = replayable


def roster(content: FileContent = b'{"accessToken": "sk-ant-oat01-x"}') -> Roster:
    """One account whose file was looked at in second 0."""
    roster = Roster(Config(claude_code_home="/home"), entropy=bytes, report=lambda change: None)
    account = roster["primary"]
    account.checked(FilesLoaded([(account.paths[0], content)], "fingerprint"), wall=0.0, now=0.0)
    return roster


def question(asked: Call, *, replayable: bool = True) -> Question:
    return Question(Body(replayable=replayable), request_with, asked.at)


ONCE = Persistence(1, 60.0)


def request_with(credential: Credential) -> UpstreamRequest:
    return UpstreamRequest(Origin("http", "upstream", 80), RequestHead(b"GET", b"/", []))


def call(at: float = 0.0, wall: float = 0.0) -> Call:
    return Call(RequestHead(b"POST", b"/", []), Peer(PeerKind.LOOPBACK, "here"), "req_1", at, wall)


STALE = Failed(FailureKind.STALE, "", 0.0)
OK = Fetched(ResponseHead(200, []), 0.0)


@pytest.mark.parametrize(
    ("replayable", "outcomes", "fresh"),
    [
        (True, [OK], [False]),
        (True, [STALE, OK], [False, True]),
        (True, [STALE, STALE], [False, True]),
        (False, [STALE], [False]),
        (True, [Failed(FailureKind.LOST, "", 0.0)], [False]),
        (True, [Failed(FailureKind.SILENT, "", 0.0)], [False]),
    ],
)
def test_only_a_stale_connection_is_replaced_and_only_once(
    replayable: bool, outcomes: list[Outcome], fresh: list[bool]
) -> None:
    story = ask(call(), roster(), question(call(), replayable=replayable), ONCE)
    effects = [next(story)]
    with pytest.raises((StopIteration, Refusal)) as ended:
        for outcome in outcomes:
            effects += [story.send(outcome)]
    assert [effect.fresh for effect in effects if isinstance(effect, Fetch)] == fresh
    assert isinstance(ended.value, StopIteration) == (outcomes[-1] is OK)


EXPIRING = b'{"accessToken": "sk-ant-oat01-x", "expiresAt": 100}'


@pytest.mark.parametrize(
    ("content", "wall", "wait"),
    [
        (b'{"accessToken": "sk-ant-oat01-x"}', 0.0, False),
        (EXPIRING, 99.0, False),
        (EXPIRING, 100.0, True),
        (Missing(), 0.0, True),
    ],
    ids=["without an end", "before its end", "expired", "none at all"],
)
def test_files_that_were_not_looked_at_for_a_while_are_waited_for_only_without_a_usable_credential(
    content: FileContent, wall: float, wait: bool
) -> None:
    asked = call(at=1.0, wall=wall)
    story = ask(asked, roster(content), question(asked), ONCE)
    assert next(story) == CheckCredentials("primary", wait)


def test_files_that_were_just_looked_at_are_not_looked_at_again() -> None:
    asked = call(at=0.9)
    story = ask(asked, roster(EXPIRING), question(asked), ONCE)
    assert isinstance(next(story), Fetch)
