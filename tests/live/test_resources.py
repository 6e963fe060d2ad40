"""Batches, files and models through the current SDK."""

from typing import Any

import anthropic
import pytest

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from protocol.routing import LEGACY_PREFIX
from tests.live.asks import ask


def batch_of(*texts: str) -> Any:
    return [{"custom_id": text, "params": ask(text)} for text in texts]


def test_a_batch_from_creation_to_deletion(
    upstream: PracticeUpstream, client: anthropic.Anthropic, base_url: str
) -> None:
    batches = client.messages.batches
    created = batches.create(requests=batch_of("one", "/error 500"))
    assert created.results_url is None
    ended = batches.retrieve(created.id)
    assert ended.results_url == f"{base_url}/v1/messages/batches/{created.id}/results"
    assert [batch.results_url for batch in batches.list(limit=1) if batch.id == created.id] == [ended.results_url]
    results = {line.custom_id: line.result.type for line in batches.results(created.id)}
    assert results == {"one": "succeeded", "/error 500": "errored"}
    seen = upstream.requests[-1]
    assert seen.target == f"/v1/messages/batches/{created.id}/results"
    assert seen.header("authorization") == [f"Bearer {PRACTICE_TOKEN}"]
    assert batches.delete(created.id).id == created.id
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(created.id)


def test_a_batch_is_canceled(client: anthropic.Anthropic, base_url: str) -> None:
    batches = client.messages.batches
    created = batches.create(requests=batch_of("one"))
    assert batches.cancel(created.id).processing_status == "canceling"
    assert [line.result.type for line in batches.results(created.id)] == ["canceled"]


def test_the_beta_batches_lead_back_through_the_router_too(client: anthropic.Anthropic, base_url: str) -> None:
    batches = client.beta.messages.batches
    created = batches.create(requests=batch_of("one"))
    assert (batches.retrieve(created.id).results_url or "").startswith(base_url + "/v1/")
    assert [line.result.type for line in batches.results(created.id)] == ["succeeded"]


def test_a_file_from_upload_to_deletion(upstream: PracticeUpstream, client: anthropic.Anthropic) -> None:
    content = b"a,b\r\n1,2\n\xff\x00" + bytes(range(256)) * 4000
    stored = client.files.upload(file=("table.csv", content, "text/csv"))
    assert upstream.requests[-1].header("content-type")[0].startswith("multipart/form-data; boundary=")
    assert (stored.filename, stored.mime_type, stored.size_bytes) == ("table.csv", "text/csv", len(content))
    assert client.files.download(stored.id).read() == content
    assert client.files.retrieve_metadata(stored.id) == stored
    assert stored.id in [file.id for file in client.files.list(limit=5)]
    assert client.files.delete(stored.id).id == stored.id
    with pytest.raises(anthropic.NotFoundError):
        client.files.download(stored.id)


def test_files_of_the_beta_api(client: anthropic.Anthropic) -> None:
    stored = client.beta.files.upload(file=("note.txt", b"hello", "text/plain"))
    assert client.beta.files.download(stored.id).read() == b"hello"
    assert client.beta.files.list().data[0].id == stored.id
    assert client.beta.files.delete(stored.id).id == stored.id


def test_a_download_is_streamed_to_the_client(client: anthropic.Anthropic) -> None:
    content = bytes(range(256)) * 8000
    stored = client.files.upload(file=("large.bin", content, "application/octet-stream"))
    with client.files.with_streaming_response.download(stored.id) as response:
        assert response.headers["content-length"] == str(len(content))
        assert b"".join(response.iter_bytes()) == content
    client.files.delete(stored.id)


def test_models(client: anthropic.Anthropic, direct: anthropic.Anthropic, base_url: str) -> None:
    """Under the prefix the list is the provider's, at the root the router's own."""
    listed = list(client.models.list(limit=2))
    assert [model.id for model in client.beta.models.list(limit=2)] == [model.id for model in listed]
    assert client.models.retrieve(listed[0].id).id == listed[0].id
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nonesuch")
    if base_url.endswith(LEGACY_PREFIX):
        assert listed == list(direct.models.list(limit=2))


def test_what_a_client_has_no_business_with_is_refused_here(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    before = len(upstream.requests)
    with pytest.raises(anthropic.NotFoundError):
        client.get("/v1/organizations/users", cast_to=object)
    with pytest.raises(anthropic.APIStatusError) as failed:
        client.get("/v1/messages", cast_to=object)
    assert (failed.value.status_code, failed.value.response.headers["allow"]) == (405, "POST")
    assert len(upstream.requests) == before
