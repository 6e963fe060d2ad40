"""Bodies of every size and coding, compared byte for byte with what was sent."""

import gzip
import hashlib
import json

import anthropic
import httpx2
import pytest

from cli.practice import PRACTICE_API_KEY, PracticeUpstream
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.routers import RunningRouter, new_token

MEBIBYTE = 1 << 20


def raw_answer(origin: str, token: str, **headers: str) -> tuple[int, httpx2.Headers, bytes]:
    """One message, with its body as it was on the wire."""
    with httpx2.stream(
        "POST",
        f"{origin}/v1/messages",
        headers={"x-api-key": token, "anthropic-version": "2023-06-01", **headers},
        json=ask("the same for both"),
    ) as response:
        return response.status_code, response.headers, b"".join(response.iter_raw())


@pytest.mark.parametrize("wish", ["gzip", "gzip; error=400", "gzip; split=3", "size=20000"])
def test_an_answer_of_inference_comes_without_compression_and_says_the_same(
    upstream: PracticeUpstream, router: RunningRouter, wish: str
) -> None:
    """Its tokens are counted as it passes, and a stream's cut is told within it."""
    status, headers, body = raw_answer(router.origin, new_token(), **{"x-practice": wish})
    expected, direct, compressed = raw_answer(upstream.origin, PRACTICE_API_KEY, **{"x-practice": wish})
    assert (status, headers.get("content-encoding")) == (expected, None)
    assert headers["content-length"] == str(len(body))
    plain = gzip.decompress(compressed) if direct.get("content-encoding") else compressed
    if "error" in wish:  # an error names its request
        assert json.loads(body)["error"] == json.loads(plain)["error"]
    else:
        assert body == plain


def test_the_sdk_reads_other_answers_compressed_as_they_were(client: anthropic.Anthropic) -> None:
    answer = client.files.with_raw_response.list(extra_headers={"x-practice": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.parse().data is not None


@pytest.mark.slow
def test_ten_megabytes_arrive_as_they_were_sent(upstream: PracticeUpstream, router: RunningRouter) -> None:
    sent: list[bytes] = []
    text = hashlib.shake_256(b"pages").hexdigest(5 * MEBIBYTE)
    with (
        anthropic.DefaultHttpxClient(event_hooks={"request": [lambda request: sent.append(request.content)]}) as http,
        new_client(router.origin, http_client=http) as client,
        client.messages.stream(**ask(text)) as stream,
    ):
        assert "You said" in stream.get_final_text()
    seen = upstream.requests[-1]
    assert len(seen.body) > 10 * MEBIBYTE
    assert seen.body == sent[0]
    assert seen.header("content-length") == [str(len(sent[0]))]


@pytest.mark.slow
def test_ten_megabytes_without_a_length_arrive_too(upstream: PracticeUpstream, router: RunningRouter) -> None:
    body = json.dumps(ask("y" * (10 * MEBIBYTE))).encode()
    parts = [body[start : start + 100_001] for start in range(0, len(body), 100_001)]
    response = httpx2.post(
        f"{router.origin}/v1/messages", headers={"authorization": f"Bearer {new_token()}"}, content=iter(parts)
    )
    assert response.status_code == 200
    seen = upstream.requests[-1]
    assert seen.body == body
    assert seen.header("transfer-encoding") == ["chunked"]


@pytest.mark.slow
def test_ten_megabytes_come_back_as_they_were_kept(client: anthropic.Anthropic) -> None:
    content = hashlib.shake_256(b"a file").digest(10 * MEBIBYTE)
    stored = client.files.upload(file=("large.bin", content, "application/octet-stream"))
    assert client.files.download(stored.id).read() == content
    client.files.delete(stored.id)
