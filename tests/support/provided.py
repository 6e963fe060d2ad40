"""Routers before OpenAI-compatible providers, on a stage of memory: what is stored, what is sent, what was told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from protocol.commands import Loss
from protocol.identity.sealing import NONCE_BYTES, Sealer
from protocol.values import Secret
from tests.support.operator import PROVIDERS, Operator
from tests.support.requests import post, reply
from tests.support.scene import Client, Scene, Upstream
from tests.support.stage import TOKEN_SECRET

Json = dict[str, Any]

KEY: Final = "sk-the-providers-key"
BASE: Final = "http://litellm:4000/v1"
CHAT: Final = b"/v1/chat/completions"
RESPONSES: Final = b"/v1/responses"
MESSAGES: Final = b"/v1/messages"

SETTINGS: Final = {
    "UPSTREAM_PROVIDER": "openai-compatible",
    "OPENAI_COMPATIBLE_BASE_URL": BASE,
    "OPENAI_COMPATIBLE_API_KEY": KEY,
}
"""A provider called ``litellm``, as in the README."""

QUESTION: Final = b'{"model": "gpt-4o",  "messages":[{"role":"user","content":"hi"}], "x-extra": 1.50}'
"""In a spelling that no encoder would choose, so that a change of one byte shows."""

ASKED: Final[Json] = {"model": "gpt-4o", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
"""A Messages request."""


def stored(*records: Json) -> dict[str, bytes]:
    """The store file with these providers; ``api_key`` is sealed as the router does it."""
    sealer = Sealer(Secret(TOKEN_SECRET))
    lines: list[str] = []
    for record in records:
        fields = {"enabled": True, "kind": "openai-compatible", **record}
        if "api_key" in fields:
            key = Secret(fields.pop("api_key"))
            sealed = sealer.seal(key, fields["name"], fields["base_url"], len(lines).to_bytes(NONCE_BYTES, "big"))
            fields["encrypted_api_key"] = sealed.reveal()
        lines.append(f"PROVIDER: {json.dumps(fields)}\n")
    return {PROVIDERS: "".join(lines).encode()}


def at(name: str, **fields: Any) -> Json:
    """A record of a provider on a host of its name, with a key of its own."""
    return {"name": name, "base_url": f"http://{name}/v1", "api_key": f"sk-{name}", **fields}


class Provided(Scene):
    """A router whose upstream is a provider, and what there is to ask of it."""

    def __init__(self, *records: Json, **settings: str) -> None:
        super().__init__(None, stored(*records) if records else {}, None, **{**SETTINGS, **settings})

    def asks(self, path: bytes, body: bytes | Json, *headers: bytes, token: bytes | None = None) -> Client:
        """A client that has sent this."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client().sends(post(token or self.token, content, path, *headers))

    def lists(self, path: bytes = b"/v1/models", *headers: bytes) -> Client:
        """A client that has asked for models."""
        return self.client().gets(path, b"Authorization: Bearer " + self.token, *headers)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Meanwhile nobody can be connected to."""
        self.shell.connect_fails = Loss.REFUSED
        yield
        self.shell.connect_fails = None

    def billed(self) -> tuple[float, float]:
        """The tokens of input and of output that all answers were billed for."""
        samples = Operator(self).metrics()
        return samples["input_tokens_total"], samples["output_tokens_total"]

    def limited(self, **limits: Any) -> bytes:
        """A token with limits."""
        token: str = Operator(self).issue(**limits)["token"]
        return token.encode()

    def store(self, *records: Json) -> Self:
        """Somebody else writes the store file."""
        self.shell.files.update(stored(*records))
        return self

    def asked(self) -> "Asked":
        """The next request that reached a provider, on a connection of its own."""
        upstream = self.upstream()
        return asked(upstream)


class Asked:
    """One request as a provider saw it, and its way to answer."""

    def __init__(self, upstream: Upstream, line: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        self.upstream = upstream
        self.method, self.target, _ = line.split(b" ")
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Json:
        fields: Json = json.loads(self.body)
        return fields

    @property
    def host(self) -> bytes:
        """Where the connection went, which is what the request says."""
        origin = self.upstream.peer.origin
        assert origin is not None
        assert self.headers[b"host"] == origin.authority.encode()
        return self.headers[b"host"]

    def answers(self, body: bytes | Json, status: bytes = b"200 OK", *headers: bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.upstream.sends(reply(content, status, *headers))


def asked(upstream: Upstream) -> Asked:
    """The next request on a connection."""
    line, fields = upstream.head()
    headers = dict(fields)
    return Asked(upstream, line, headers, upstream.exactly(int(headers.get(b"content-length", b"0"))))


def told(client: Client, status: int = 200) -> Json:
    """The JSON of the next answer, which has this status."""
    seen, _, body = client.response()
    assert seen == status, body
    fields: Json = json.loads(body)
    return fields


def streamed(client: Client) -> bytes:
    """The body of a streamed answer to its end, without its chunks' framing."""
    line, _ = client.head()
    assert line.split(b" ")[1] == b"200", (line, client.received)
    body = b""
    while size := int(client.until(b"\r\n"), 16):
        body += client.exactly(size)
        assert client.exactly(2) == b"\r\n"
    assert client.exactly(2) == b"\r\n"
    return body


def cut_off(client: Client) -> bytes:
    """What came of the body of a streamed answer that never ended as its framing has it."""
    client.head()
    rest, body = client.rest(), b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        assert int(size, 16), "the body ended in order"
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def events(stream: bytes) -> list[Json]:
    """The data of a stream's events, less what is no JSON."""
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]
