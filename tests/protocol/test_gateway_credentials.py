"""The core and the credential files: when they are looked at, who waits for that, and which one is used."""

import pytest

from protocol.commands import LoadFiles, LogLevel
from protocol.files import Unreadable
from tests.protocol.conftest import OpenScene
from tests.support.requests import REPLY
from tests.support.scene import CREDENTIAL_FILE, EXPIRED, Scene
from tests.support.stage import OAUTH_TOKEN


def test_the_files_are_read_once_for_everybody_who_waits(scene_with: OpenScene) -> None:
    scene = scene_with(EXPIRED)
    scene.passes(5)
    scene.orders()
    scene.shell.disk_hangs = True
    clients = [scene.client().posts() for _ in range(5)]
    assert len(scene.orders(LoadFiles)) == 1
    assert scene.asked_nobody()
    scene.shell.reads()
    for client in clients:
        scene.upstream().replies()
        client.saw(200, REPLY)
    assert scene.orders(LoadFiles) == []


def test_nobody_waits_for_the_files_while_a_usable_credential_is_known(scene: Scene) -> None:
    scene.passes(5)
    scene.orders()
    scene.shell.disk_hangs = True
    for _ in range(3):
        client = scene.client().posts()
        upstream = scene.upstream()
        assert upstream.got()[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
        upstream.replies(REPLY, b"200 OK", b"Connection: close")
        client.saw(200, REPLY)
    assert len(scene.orders(LoadFiles)) == 1, "once for all of them"


def test_an_expired_credential_that_was_renewed_on_disk_is_not_sent_once_more(scene_with: OpenScene) -> None:
    scene = scene_with(EXPIRED)
    scene.passes(5)
    scene.writes_credentials(b'{"accessToken": "sk-ant-oat01-renewed"}')
    scene.client().posts()
    assert scene.upstream().got()[b"authorization"] == b"Bearer sk-ant-oat01-renewed"


def test_a_credential_is_looked_at_again_after_a_second(scene: Scene) -> None:
    assert len(scene.orders(LoadFiles)) == 1, "once at the start"
    for seconds, looks in ((0.9, 0), (0.1, 1), (0.9, 0), (30.0, 1)):
        scene.passes(seconds)
        client = scene.client().posts()
        assert len(scene.orders(LoadFiles)) == looks
        client.leaves()


def bearers(scene: Scene, requests: int) -> list[bytes]:
    """What so many requests, one after the other, carried to the upstream."""
    client = scene.client()
    seen = []
    for _ in range(requests):
        client.posts()
        upstream = scene.upstream()
        seen.append(upstream.got()[b"authorization"].removeprefix(b"Bearer "))
        upstream.replies(REPLY, b"200 OK", b"Connection: close")
        client.saw(200, REPLY)
    return seen


def test_a_change_on_disk_is_noticed_by_one_request_and_used_from_the_next_on(scene: Scene) -> None:
    scene.writes_credentials(b'{"access_token": "sk-ant-oat01-second"}')
    scene.passes(2)
    known, changed = OAUTH_TOKEN.encode(), b"sk-ant-oat01-second"
    assert bearers(scene, 3) == [known, changed, changed]
    assert len(scene.logs("uses the credential from")) == 2


def test_a_change_on_disk_that_made_the_known_credential_void_costs_the_client_nothing(scene: Scene) -> None:
    scene.writes_credentials(b'{"access_token": "sk-ant-oat01-second"}')
    scene.passes(2)
    client = scene.client().posts()
    upstream = scene.upstream()
    assert upstream.got()[b"authorization"] == b"Bearer " + OAUTH_TOKEN.encode()
    upstream.replies(b"{}", b"401 Unauthorized")
    assert upstream.got()[b"authorization"] == b"Bearer sk-ant-oat01-second"
    upstream.replies()
    client.saw(200, REPLY)


def test_a_file_that_is_half_written_takes_nothing_away_and_is_a_warning(scene: Scene) -> None:
    scene.writes_credentials(b'{"access_token": "sk-ant-oat01-sec')
    scene.passes(2)
    assert bearers(scene, 2) == [OAUTH_TOKEN.encode()] * 2
    scene.passes(2)
    assert bearers(scene, 1) == [OAUTH_TOKEN.encode()]
    assert len(scene.logs("not valid JSON")) == 1, "it is said once, until the file changes"
    assert len(scene.logs("keeps the credential it had")) == 1
    scene.writes_credentials(b'{"access_token": "sk-ant-oat01-second"}')
    scene.passes(2)
    assert bearers(scene, 2) == [OAUTH_TOKEN.encode(), b"sk-ant-oat01-second"]


@pytest.mark.parametrize("content", [b"{not JSON", b"[]", b"\xff", Unreadable("Permission denied")])
def test_a_file_that_cannot_be_used_is_a_warning_and_the_next_one_is_tried(
    scene: Scene, content: bytes | Unreadable
) -> None:
    scene.writes_credentials(content)
    scene.shell.files["/home/.credentials.json"] = b'{"claudeAiOauth":{"accessToken":"sk-ant-oat01-next"}}'
    scene.passes(2)
    assert bearers(scene, 2) == [OAUTH_TOKEN.encode(), b"sk-ant-oat01-next"]
    assert len([log for log in scene.shell.logs if CREDENTIAL_FILE in log.event]) == 2, "found at first, then unusable"


def test_without_any_credential_there_is_a_warning_at_start_and_a_502_for_each_request(scene_with: OpenScene) -> None:
    scene = scene_with(None)
    (warning,) = scene.logs("no usable credential")
    assert warning.level is LogLevel.WARN
    client = scene.client().posts()
    client.saw(502)
    assert scene.asked_nobody()
