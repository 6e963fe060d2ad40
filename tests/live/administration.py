"""An operator who administers a router over HTTP, and holders of tokens who use it, on real sockets."""

import http.client
import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.practice import user_says

LONGEST_SILENCE = 30.0
"""Seconds until a request that nobody answers fails the test."""


def ask(address: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if content is not None:
        fields.setdefault("content-type", "application/json")
    connection = http.client.HTTPConnection(address, timeout=LONGEST_SILENCE)
    try:
        connection.request(method, path, content, fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask_json(address: str, method: str, path: str, body: object = None, **headers: str) -> Any:
    """The JSON of a good answer."""
    status, content = ask(address, method, path, body, **headers)
    assert status == 200, content
    return json.loads(content)


def issue(address: str, **wishes: object) -> tuple[str, str]:
    """The id of a new token, and the token."""
    issued = ask_json(address, "POST", "/api/tokens", wishes)
    return issued["id"], issued["token"]


def use(address: str, token: str, text: str = "hello", *, stream: bool = False) -> int:
    """The status of a Messages request."""
    return ask(address, "POST", "/v1/messages", user_says(text, stream=stream), x_api_key=token)[0]


def metrics(address: str) -> dict[str, float]:
    """Every sample of ``/metrics`` by its name without the prefix, and its labels."""
    status, page = ask(address, "GET", "/metrics")
    assert status == 200
    return {
        " ".join([sample.name.removeprefix("link_assistant_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }
