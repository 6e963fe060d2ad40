"""Whatever is asked and whatever goes wrong: the operator's credential stays on one side, the router's tokens on the
other, and neither they nor the secrets behind them are ever logged.
"""

import json
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import Loss
from protocol.files import Unreadable
from tests.support.requests import EVENT, LAST_CHUNK, STREAM_HEAD, chunk, reply
from tests.support.scene import Scene
from tests.support.stage import TOKEN_SECRET
from transports.logs import json_line, text_line

CREDENTIAL = "sk-ant-oat01-operators-own-credential"
API_KEY = "sk-ant-api03-operators-own-key"
CLIENTS_OWN = b"sk-ant-oat01-clients-own-credential"
ADMIN_KEY = "the-admin-key-of-the-operator"

MESSAGE = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
CHAT = {**MESSAGE, "stream": True}

PATHS = (
    b"/v1/messages",
    b"/v1/messages?beta=true",
    b"/api/latest/anthropic/v1/messages/batches",
    b"/v1/messages/batches",
    b"/v1/chat/completions",
    b"/v1/responses",
    b"/v1/models",
    b"/api/tokens",
    b"/nowhere",
)
CREDENTIAL_NAMES = (
    b"Authorization",
    b"X-Api-Key",
    b"Cookie",
    b"Proxy-Authorization",
    b"X-Auth-Token",
    b"Api-Key",
    b"X-Forwarded-Authorization",
)
OTHER_FIELDS = (
    b"Connection: authorization, x-api-key",
    b"Connection: close",
    b"anthropic-beta: oauth-2025-04-20, other",
    b"anthropic-version: 2023-06-01",
    b"Accept-Encoding: gzip",
    b"X-Http-Method-Override: DELETE",
    b"Expect: 100-continue",
    b"Expect: something",
)
ANSWERS: tuple[list[bytes], ...] = (
    [reply()],
    [reply(b'{"type":"error","error":{"type":"x","message":"y"}}', b"401 Unauthorized")],
    [reply(b"{}", b"429 Too Many Requests", b"Retry-After: 1")],
    [reply(b"not JSON", b"500 Internal Server Error")],
    [STREAM_HEAD, chunk(EVENT), LAST_CHUNK],
    [STREAM_HEAD, chunk(EVENT)],
    [reply()[:-1]],
    [b"HTTP/1.1 200 OK\r\nX-Broken\r\n\r\n"],
    [],
)
CREDENTIAL_FILES = (
    json.dumps({"claudeAiOauth": {"accessToken": CREDENTIAL, "refreshToken": "sk-ant-ort01-" + CREDENTIAL}}).encode(),
    json.dumps({"accessToken": CREDENTIAL, "expiresAt": 1}).encode(),
    json.dumps({"accessToken": CREDENTIAL + " "}).encode(),
    json.dumps({"accessToken": CREDENTIAL + "\n x"}).encode(),
    b'{"accessToken": "' + CREDENTIAL.encode(),
    b"\xff" + CREDENTIAL.encode(),
    Unreadable("Permission denied"),
)


@dataclass
class Asked:
    """One request: where a good token stands, what else the client presents, how it goes on."""

    path: bytes
    token_in: bytes
    presented: list[tuple[bytes, bytes]]
    fields: list[bytes]
    body: bytes
    answer: list[bytes]
    ends: bool
    unreachable: Loss | None

    def bytes_with(self, token: bytes) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (b"GET" if self.path == b"/v1/models" else b"POST", self.path), b"Host: x"]
        for name, value in [*self.presented, (self.token_in, token)]:
            lines.append(name + (b": Bearer " if name.lower() == b"authorization" else b": ") + value)
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(self.body), *self.fields]
        return b"\r\n".join([*lines, b"", b""]) + self.body


BODIES = st.one_of(
    st.sampled_from([json.dumps(MESSAGE).encode(), json.dumps(CHAT).encode(), b"{}", b""]), st.binary(max_size=40)
)
REQUESTS = st.builds(
    Asked,
    path=st.sampled_from(PATHS[:2] * 4 + PATHS),
    token_in=st.sampled_from([b"Authorization", b"X-Api-Key", b"authorization"]),
    presented=st.lists(
        st.tuples(
            st.sampled_from(CREDENTIAL_NAMES),
            st.sampled_from([CLIENTS_OWN, b"la_sk_not-a-token", b"a=b", ADMIN_KEY.encode()]),
        ),
        max_size=2,
    ),
    fields=st.lists(st.sampled_from(OTHER_FIELDS), max_size=2, unique=True),
    body=BODIES,
    answer=st.sampled_from(ANSWERS),
    ends=st.booleans(),
    unreachable=st.sampled_from([None, None, None, Loss.REFUSED, Loss.TLS]),
)


@given(
    asked=st.lists(REQUESTS, min_size=1, max_size=3),
    credentials=st.sampled_from(CREDENTIAL_FILES),
    api_key=st.sampled_from(["", API_KEY]),
    drains=st.booleans(),
)
def test_secrets_stay_where_they_belong(
    asked: list[Asked], credentials: bytes | Unreadable, api_key: str, drains: bool
) -> None:
    scene = Scene(credentials, ANTHROPIC_API_KEY=api_key, TOKEN_ADMIN_KEY=ADMIN_KEY)
    to_clients, to_upstreams = b"", b""
    for request in asked:
        scene.shell.connect_fails = request.unreachable
        client = scene.client().sends(request.bytes_with(scene.token))
        to_upstreams += _answered(scene, request)
        to_clients += bytes(client.peer.inbox)
        scene.passes(2)
    if drains:
        scene.drains(0)
    scene.assert_faultless()

    logs = b"".join(json_line(log, 0.0) + text_line(log, 0.0) for log in scene.shell.logs)
    token = scene.token
    operators = [CREDENTIAL.encode(), API_KEY.encode()]
    hidden = [TOKEN_SECRET.encode(), ADMIN_KEY.encode(), CLIENTS_OWN, token, token.rpartition(b".")[2]]
    for secret in [*operators, *hidden]:
        assert secret not in logs
    for secret in [*operators, TOKEN_SECRET.encode(), ADMIN_KEY.encode(), CLIENTS_OWN]:
        assert secret not in to_clients
    for secret in hidden:
        assert secret not in to_upstreams
    assert to_upstreams.count(b"HTTP/1.1\r\n") == sum(map(to_upstreams.count, operators)), "one credential each"


def _answered(scene: Scene, request: Asked) -> bytes:
    """Play the upstream for one request; returns what it was sent."""
    sent = b""
    while scene.shell.dialled:
        upstream = scene.upstream()
        upstream.sends(b"".join(request.answer))
        if request.ends or not request.answer:
            upstream.half_close()
        sent += bytes(upstream.peer.inbox)
        upstream.reset()
    return sent
