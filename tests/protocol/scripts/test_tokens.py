"""``POST /api/tokens``: who gets a token, for what, and what is said when something is wrong."""

import json

import pytest

from protocol.identity.tokens import TokenVerifier
from protocol.scripts.tokens import MAX_BODY
from protocol.values import Secret
from tests.protocol.conftest import OpenScene
from tests.support.scene import Client, Scene
from tests.support.stage import TOKEN_SECRET
from transports.memory import EPOCH


def asks(
    scene: Scene, body: bytes, *headers: bytes, host: bytes = b"localhost", kind: bytes = b"application/json"
) -> Client:
    lines = [b"POST /api/tokens HTTP/1.1", b"Host: " + host, b"Content-Length: %d" % len(body), *headers]
    if kind:
        lines.append(b"Content-Type: " + kind)
    return scene.client().sends(b"\r\n".join([*lines, b"", b""]) + body)


def test_a_token_is_issued_as_asked(scene: Scene) -> None:
    client = asks(scene, b'{"ttl_hours": 2, "label": "laptop", "account": "primary", "unknown": 1}')
    status, headers, body = client.response()
    issued = json.loads(body)
    claims = TokenVerifier(Secret(TOKEN_SECRET)).verify(issued["token"].encode(), EPOCH)
    assert (status, headers[b"cache-control"]) == (200, b"no-store")
    assert (claims.label, claims.account, claims.exp - claims.iat) == ("laptop", "primary", 7200)
    assert {**issued, "token": 0} == {
        "token": 0,
        "ttl_hours": 2,
        "label": "laptop",
        "account": "primary",
        "id": claims.sub,
        "expires_at": claims.exp,
    }
    assert scene.requests()[-1]["issued"] == claims.sub


def test_a_token_may_last_a_part_of_an_hour(scene: Scene) -> None:
    issued = json.loads(asks(scene, b'{"ttl_hours": 0.5}').response()[2])
    claims = TokenVerifier(Secret(TOKEN_SECRET)).verify(issued["token"].encode(), EPOCH)
    assert claims.exp - claims.iat == 1800
    assert issued["ttl_hours"] == 0.5


def test_everything_has_a_default(scene: Scene) -> None:
    issued = json.loads(asks(scene, b"{}").response()[2])
    assert (issued["ttl_hours"], issued["label"], issued["account"]) == (24, "", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not JSON",
        b'{"ttl_hours": "2"}',
        b'{"ttl_hours": 0}',
        b'{"ttl_hours": -0.5}',
        b'{"ttl_hours": 1e300}',
        b'{"ttl_hours": 100000000}',
        b'{"label": 7}',
        b'{"label": "%s"}' % (b"x" * 1025),
        b'{"account": "%s"}' % (b"x" * 5000),
    ],
)
def test_anything_else_is_a_400(scene: Scene, body: bytes) -> None:
    status, _, error = asks(scene, body).response()
    assert (status, json.loads(error)["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
def test_a_form_of_a_web_page_cannot_ask(scene: Scene, kind: bytes) -> None:
    asks(scene, b"{}", kind=kind).saw(400)


def test_a_body_beyond_its_limit_is_a_413(scene: Scene) -> None:
    asks(scene, b" " * (MAX_BODY + 1)).saw(413)


def test_a_name_that_was_pointed_here_cannot_ask(scene: Scene) -> None:
    asks(scene, b"{}", host=b"evil.example").saw(401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [([], 401), ([b"Authorization: Bearer wrong"], 401), ([b"Authorization: Bearer the-admin-key"], 200)],
)
def test_with_an_admin_key_only_its_holder_may_ask(scene_with: OpenScene, headers: list[bytes], status: int) -> None:
    asks(scene_with(TOKEN_ADMIN_KEY="the-admin-key"), b"{}", *headers).saw(status)
