"""Files and batches stay with the account that made them, found again on a 404 after a restart."""

import gzip
import json

import pytest

from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    FAILED,
    HOUR,
    LIMITED,
    NOT_FOUND,
    OVERLOADED,
    UNAUTHORIZED,
    Pooled,
    access,
    file_of,
    session,
    window,
)
from tests.support.requests import LAST_CHUNK, REPLY, chunk

FILE = b'{"id":"file_1","type":"file"}'
BATCH = b'{"id":"msgbatch_1","results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}'


def made_with(scene: Pooled, name: str) -> None:
    """A file that this account has made, since those before it were limited."""
    client = scene.uploads(b"/v1/files", b"content")
    for other in scene.names[: scene.names.index(name)]:
        scene.asked().by(other).says(LIMITED)
    scene.asked().by(name).replies(FILE)
    client.saw(200, FILE)
    client.leaves()


def shown_by(scene: Pooled, path: bytes, method: bytes = b"GET") -> str:
    """The account that this path is asked of; it answers well."""
    client = scene.fetches(path, method=method)
    asked = scene.asked()
    asked.replies(b"" if method == b"HEAD" else FILE)
    client.head()
    client.leaves()
    return next(name for name in scene.names if access(name) == asked.token)


@pytest.mark.parametrize("path", [b"/v1/files/file_1", b"/v1/files/file_1/content", b"/v1/files/file_1?beta=true"])
@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_what_an_account_has_made_is_asked_of_that_account(scene: Pooled, path: bytes, method: bytes) -> None:
    made_with(scene, "account-1")
    if method == b"DELETE":
        path = b"/v1/files/file_1"
    assert [shown_by(scene, path, method) for _ in range(3)] == ["account-1"] * 3


def test_a_batch_stays_with_its_account(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/messages/batches", b'{"requests":[]}')
    scene.asked().by("primary").says(OVERLOADED)
    scene.asked().by("account-1").replies(BATCH)
    client.head()
    answer = client.until(LAST_CHUNK)
    assert b"http://router.test/v1/messages/batches/msgbatch_1/results" in answer
    for path in (b"/v1/messages/batches/msgbatch_1", b"/v1/messages/batches/msgbatch_1/results"):
        client = scene.fetches(path)
        scene.asked().by("account-1").replies(BATCH)
        client.head()
    cancelled = scene.uploads(b"/v1/messages/batches/msgbatch_1/cancel", b"")
    scene.asked().by("account-1").replies(BATCH)
    cancelled.head()


@pytest.mark.parametrize("status", [LIMITED, OVERLOADED, FAILED, UNAUTHORIZED])
def test_an_account_that_cannot_show_what_it_holds_is_not_replaced_by_one_that_does_not_have_it(
    scene: Pooled, status: bytes
) -> None:
    """To a client a 404 would mean that its file is gone."""
    made_with(scene, "account-1")
    client = scene.fetches(b"/v1/files/file_1")
    scene.asked().by("account-1").says(status, body=b'{"verbatim":1}')
    client.saw(int(status[:3]), b'{"verbatim":1}')
    assert scene.asked_nobody()


def test_an_account_that_is_limited_for_inference_still_shows_what_it_holds(scene: Pooled) -> None:
    made_with(scene, "primary")
    for name in scene.names:
        client = scene.client().sends(scene.request_as(name))
        scene.asked().by(name).says(LIMITED, *window("5h", scene.wall + HOUR))
        client.saw(429)
    assert shown_by(scene, b"/v1/files/file_1") == "primary"


def test_what_its_account_does_not_have_any_more_is_asked_around_before_it_is_said_to_be_gone(scene: Pooled) -> None:
    made_with(scene, "account-1")
    client = scene.fetches(b"/v1/files/file_1")
    scene.asked().by("account-1").says(NOT_FOUND)
    for _ in ("primary", "account-2"):
        scene.asked().says(NOT_FOUND, body=b'{"verbatim":1}')
    client.saw(404, b'{"verbatim":1}')


def test_after_a_restart_it_is_asked_around_and_remembered(scene: Pooled) -> None:
    client = scene.fetches(b"/v1/files/file_1")
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies(FILE)
    client.saw(200, FILE)
    assert shown_by(scene, b"/v1/files/file_1") == "account-1"


def test_what_is_not_with_its_account_any_more_is_asked_around_and_its_account_is_forgotten(scene: Pooled) -> None:
    made_with(scene, "account-2")
    client = scene.fetches(b"/v1/files/file_1")
    scene.asked().by("account-2").says(NOT_FOUND)
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").replies(FILE)
    client.saw(200, FILE)
    assert shown_by(scene, b"/v1/files/file_1") == "account-1"
    client = scene.fetches(b"/v1/files/file_1")
    for name in ("account-1", "primary", "account-2"):
        scene.asked().by(name).says(NOT_FOUND)
    client.saw(404, b'{"type":"error"}')
    assert scene.shell.gateway._roster.holder("file_1") is None


def test_each_account_is_asked_once_however_few_attempts_there_are(pool_of: OpenPool) -> None:
    scene = pool_of(12, FAILOVER_ATTEMPTS="2")
    client = scene.fetches(b"/v1/files/file_1")
    for name in scene.names[:-1]:
        scene.asked().by(name).says(NOT_FOUND)
    scene.asked().by("account-11").replies(FILE)
    client.saw(200, FILE)


def test_what_nobody_has_is_a_404_of_the_provider_s(scene: Pooled) -> None:
    client = scene.fetches(b"/v1/files/file_9")
    for name in scene.names:
        scene.asked().by(name).says(NOT_FOUND, body=b'{"verbatim":1}')
    client.saw(404, b'{"verbatim":1}')


def test_what_cannot_be_asked_of_everybody_is_no_404(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.fetches(b"/v1/files/file_9")
    scene.asked().by("primary").says(NOT_FOUND)
    scene.asked().by("account-1").says(LIMITED, b"Retry-After: 9")
    assert client.saw(429)[b"retry-after"] == b"9"


def test_what_a_limited_account_may_have_is_no_404_either_when_the_others_are_asked_after_it(pool_of: OpenPool) -> None:
    scene = pool_of(2)
    client = scene.fetches(b"/v1/files/file_9")
    scene.asked().by("primary").says(OVERLOADED)
    scene.asked().by("account-1").says(NOT_FOUND)
    assert client.saw(529)[b"retry-after"] == b"1"


def test_a_list_is_asked_of_the_first_account_so_that_it_shows_the_same_each_time(scene: Pooled) -> None:
    for path in (b"/v1/files", b"/v1/messages/batches?limit=20", b"/api/latest/anthropic/v1/skills"):
        assert [shown_by(scene, path) for _ in range(3)] == ["primary"] * 3


def test_a_list_is_the_first_account_s_also_while_that_one_is_limited_for_inference(scene: Pooled) -> None:
    client = scene.client().posts()
    scene.asked().by("primary").says(LIMITED, *window("7d", scene.wall + 24 * HOUR))
    scene.asked().replies()
    client.saw(200)
    assert shown_by(scene, b"/v1/files") == "primary"
    made_with(scene, "primary")


def test_a_list_is_another_account_s_when_the_first_has_no_credential(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": None})
    assert shown_by(scene, b"/v1/files") == "account-1"


def test_uploads_are_shared_out_to_nobody_but_the_first_account_that_takes_them(scene: Pooled) -> None:
    for _ in range(3):
        made_with(scene, "primary")


def test_an_upload_that_failed_in_an_unknown_way_is_not_made_twice(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").says(FAILED)
    client.saw(500)
    assert scene.asked_nobody()


def test_a_large_upload_is_not_waited_for(pool_of: OpenPool) -> None:
    scene = pool_of(2, REPLAY_LIMIT_BYTES="100")
    client = scene.uploads(b"/v1/files", b"x" * 1000)
    asked = scene.asked().by("primary")
    assert asked.body == b"x" * 1000
    asked.replies(FILE)
    client.saw(200)
    assert shown_by(scene, b"/v1/files/file_1") == "primary"


def test_calls_about_resources_never_change_an_account_s_health(scene: Pooled) -> None:
    for status in (LIMITED, OVERLOADED, FAILED, UNAUTHORIZED, NOT_FOUND):
        client = scene.fetches(b"/v1/files")
        while not scene.asked_nobody():
            scene.asked().says(status, *window("5h", scene.wall + HOUR))
        client.response()
    assert all(scene.account(name).healthy for name in scene.names)
    assert scene.health() == []


def test_the_answer_to_a_creation_is_asked_for_without_compression_so_that_its_id_can_be_read(scene: Pooled) -> None:
    request = (
        b"POST /v1/files HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\nAccept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    )
    client = scene.client().sends(request % scene.token)
    asked = scene.asked()
    assert asked.headers[b"accept-encoding"] == b"identity"
    squeezed = gzip.compress(FILE)
    asked.replies(squeezed, b"Content-Encoding: gzip")
    client.saw(200, squeezed)


def test_an_answer_in_pieces_is_read_as_one_and_relayed_as_it_comes(scene: Pooled) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().by("primary").says(LIMITED)
    upstream = scene.asked().by("account-1").upstream
    upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.head()
    for at in range(0, len(FILE), 5):
        upstream.sends(chunk(FILE[at : at + 5]))
        assert client.until(b"\r\n") + client.until(b"\r\n") == chunk(FILE[at : at + 5])
    upstream.sends(LAST_CHUNK)
    client.until(LAST_CHUNK)
    assert shown_by(scene, b"/v1/files/file_1") == "account-1"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":7}', b"{not JSON", b'"file_1"', b'{"id":"\xff"}'])
def test_an_answer_that_tells_no_id_is_relayed_all_the_same(scene: Pooled, body: bytes) -> None:
    client = scene.uploads(b"/v1/files", b"content")
    scene.asked().replies(body)
    client.saw(200, body)


def test_a_model_belongs_to_no_account(scene: Pooled) -> None:
    path = b"/api/latest/anthropic/v1/models/claude-x"
    assert shown_by(scene, path) == "primary"
    del scene.shell.files[file_of("primary")]
    scene.passes(1)
    client = scene.fetches(path)
    asked = scene.asked()
    asked.says(NOT_FOUND if asked.token == access("primary") else b"200 OK")
    client.response()
    assert shown_by(scene, path) == "account-1"
    client = scene.fetches(b"/api/latest/anthropic/v1/models/claude-none")
    scene.asked().says(NOT_FOUND)
    client.saw(404)
    assert scene.asked_nobody()


def test_a_batch_that_uses_a_file_is_made_by_the_account_that_has_it_if_that_can_answer(scene: Pooled) -> None:
    made_with(scene, "account-1")
    params = {"messages": [{"role": "user", "content": [{"type": "document", "source": {"file_id": "file_1"}}]}]}
    batch = json.dumps({"requests": [{"custom_id": "a", "params": params}]}).encode()
    client = scene.uploads(b"/v1/messages/batches", batch)
    asked = scene.asked().by("account-1")
    assert asked.body == batch
    asked.says(LIMITED)
    scene.asked().by("account-2").replies(BATCH)
    client.head()


def test_the_holder_whose_login_has_to_be_renewed_is_waited_for(pool_of: OpenPool) -> None:
    scene = pool_of(2, {"primary": session("primary", expires_at=1_710_806_400 + 28_800)})
    made_with(scene, "primary")
    scene.passes(28_801)
    client = scene.fetches(b"/v1/files/file_1")
    scene.renews().grants("primary")
    scene.asked().by("primary", 1).replies(REPLY)
    client.saw(200)
