import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from cli.practice.directives import Directives
from cli.practice.prompts import MessagesRequest, heard, parse
from cli.practice.replies import Reply, compose
from cli.practice.resources import Batches, Files, page
from protocol.errors import Refusal
from tests.support.practice import Json

BATCH = b'{"requests":[{"custom_id":"a","params":{}}]}'


def answered(params: Raw) -> Reply:
    request = parse(params, MessagesRequest)
    return compose(request, heard(request), Directives(), b"")


def items(count: int) -> list[Json]:
    return [{"id": f"item_{number}"} for number in range(count)]


@given(count=st.integers(0, 12), limit=st.integers(1, 5))
def test_pages_by_cursor_and_by_id_both_show_every_item_once(count: int, limit: int) -> None:
    for cursor, field in (("page", "next_page"), ("after_id", "last_id")):
        seen: list[Json] = []
        query = {"limit": str(limit)}
        while True:
            shown = page(items(count), query)
            seen += shown["data"]
            if not shown["has_more"]:
                break
            query[cursor] = shown[field]
        assert seen == items(count)
        assert shown["next_page"] is None


def test_a_page_can_end_before_an_item() -> None:
    shown = page(items(6), {"before_id": "item_4", "limit": "2"})
    assert (shown["data"], shown["has_more"]) == (items(6)[2:4], True)
    assert not page(items(6), {"before_id": "item_2"})["has_more"]


@pytest.mark.parametrize("limit", ["0", "1001", "x", ""])
def test_an_impossible_limit_is_refused(limit: str) -> None:
    with pytest.raises(Refusal, match="limit"):
        page(items(1), {"limit": limit})


def test_a_batch_has_no_results_before_it_has_ended() -> None:
    batches = Batches("http://practice", answered)
    name = batches.create(BATCH, 0.0)["id"]
    with pytest.raises(Refusal, match="no results"):
        batches.results(name)
    assert batches.retrieve(name, 90.0)["ended_at"] == "1970-01-01T00:01:30Z"
    assert b'"errored"' in b"".join(batches.results(name))


@pytest.mark.parametrize("body", [b"{}", b'{"requests":[]}', b'{"requests":[{"custom_id":"","params":{}}]}', b"["])
def test_a_batch_without_good_requests_is_refused(body: bytes) -> None:
    batches = Batches("http://practice", answered)
    with pytest.raises(Refusal) as refused:
        batches.create(body, 0.0)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "fields", [{"other": "x"}, {"file": "x", "expires_in_seconds": "soon"}, {"file": "x", "expires_in_seconds": "-1"}]
)
def test_an_upload_without_a_file_or_with_a_strange_lifetime_is_refused(fields: dict[str, str]) -> None:
    parts = "".join(
        f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    with pytest.raises(Refusal) as refused:
        Files().create(b"multipart/form-data; boundary=b", f"{parts}--b--".encode(), 0.0)
    assert refused.value.status == 400
