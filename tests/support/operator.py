"""The operator of a router on a stage of memory: administers it over HTTP from its own machine, reads its files."""

import json
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from protocol.files import FileContent
from tests.support.scene import Client, Scene

DATA: Final = "/home/.link-assistant-router"
LINO: Final = f"{DATA}/tokens.lino"
BINARY: Final = f"{DATA}/tokens.bin"
USAGE: Final = f"{DATA}/token_usage.json"
PROVIDERS: Final = f"{DATA}/providers.lenv"
AUDIT: Final = f"{DATA}/audit.jsonl"


class Operator:
    """Every method is a request on a connection of its own, and returns the JSON of its answer."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def issue(self, **wishes: Any) -> dict[str, Any]:
        issued: dict[str, Any] = self.post("/api/tokens", wishes)
        return issued

    def revoke(self, token_id: str) -> None:
        assert self.post("/api/tokens/revoke", {"id": token_id}) == {"revoked": token_id}

    def get(self, path: str, status: int = 200) -> Any:
        return answer(self.asks("GET", path), status)

    def post(self, path: str, body: object, status: int = 200) -> Any:
        return answer(self.asks("POST", path, body), status)

    def delete(self, path: str, status: int = 200) -> Any:
        return answer(self.asks("DELETE", path), status)

    def asks(self, method: str, path: str, body: object = None, *headers: bytes) -> Client:
        """A client that has asked; None is no body, bytes are one as it is."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: localhost", *headers]
        if body is not None:
            lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(content)]
        return self.scene.client().sends(b"\r\n".join([*lines, b"", b""]) + content)

    def metrics(self) -> dict[str, float]:
        """Every sample on the page, as the official parser reads it; the name without prefix, then its labels."""
        status, _, page = self.asks("GET", "/metrics").response()
        assert status == 200
        return {
            " ".join([sample.name.removeprefix("link_assistant_"), *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }

    def audit(self) -> list[dict[str, Any]]:
        """The entries of the audit log."""
        return [json.loads(line) for line in self.file(AUDIT).splitlines()]

    def file(self, path: str) -> bytes:
        """What is in a file; nothing if it is not there."""
        content: FileContent | None = self.scene.shell.files.get(path)
        return content if isinstance(content, bytes) else b""


def answer(client: Client, status: int) -> Any:
    """The JSON of the next answer, which has this status."""
    seen, _, body = client.response()
    assert seen == status, body
    return json.loads(body)
