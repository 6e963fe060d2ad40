"""The one edit of a body: ``results_url`` leads back through the router, and no other byte changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.results_url import MAX_BATCH_BODY, ResultsUrlRelay, rewrite_results_urls
from tests.support.splits import cut_points, split

BASE = "https://router.test/api/latest/anthropic"
URL = "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"
LOCAL = BASE + "/v1/messages/batches/msgbatch_1/results"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f'{{"results_url":"{URL}"}}', f'{{"results_url":"{LOCAL}"}}'),
        (f'{{ "results_url" :\n "{URL}" , "x":1.0 }}', f'{{ "results_url" :\n "{LOCAL}" , "x":1.0 }}'),
        ('{"results_url":"' + URL.replace("/", "\\/") + '"}', f'{{"results_url":"{LOCAL}"}}'),
        (
            f'{{"data":[{{"results_url":"{URL}"}},{{"results_url":"{URL}"}}]}}',
            f'{{"data":[{{"results_url":"{LOCAL}"}},{{"results_url":"{LOCAL}"}}]}}',
        ),
        (
            '{"results_url":"http://proxy:8080/prefix/v1/messages/batches/b/results"}',
            f'{{"results_url":"{BASE}/v1/messages/batches/b/results"}}',
        ),
    ],
    ids=["plain", "spaced", "escaped slashes", "a page", "another base"],
)
def test_every_results_url_is_pointed_at_the_router(body: str, expected: str) -> None:
    assert rewrite_results_urls(body.encode(), BASE) == expected.encode()


@pytest.mark.parametrize(
    "body",
    [
        '{"results_url":null}',
        '{"results_url":""}',
        '{"results_url":"https://api.anthropic.com/v1/files/f/content"}',
        '{"results_url":"ftp://api.anthropic.com/v1/messages/batches/b/results"}',
        '{"results_url":"https://api.anthropic.com/v1/messages/batches/a/b/results"}',
        '{"results_url":"https://api.anthropic.com/v1/messages/batches/b/results?x=1"}',
        '{"results_url":"\\q"}',
        '{"results_url":7}',
        json.dumps({"note": json.dumps({"results_url": URL})}),
        json.dumps({"url": URL}),
        '{"results_url',
        "",
    ],
)
def test_anything_else_stays_as_it_is(body: str) -> None:
    assert rewrite_results_urls(body.encode(), BASE) == body.encode()


VALUES: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=10), st.just(URL)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=8,
)


@given(
    others=st.dictionaries(st.text(max_size=12).filter(lambda name: name != "results_url"), VALUES, max_size=5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 2]),
    position=st.integers(0, 5),
)
def test_all_bytes_outside_of_the_url_are_untouched(
    others: dict[str, object], ascii_only: bool, indent: int | None, position: int
) -> None:
    fields = list(others.items())
    fields.insert(position % (len(fields) + 1), ("results_url", URL))
    body = json.dumps(dict(fields), ensure_ascii=ascii_only, indent=indent)
    assert rewrite_results_urls(body.encode("utf-8", "surrogatepass"), BASE) == body.replace(
        f'"results_url": "{URL}"', f'"results_url": "{LOCAL}"'
    ).encode("utf-8", "surrogatepass")


@given(body=st.binary(max_size=200))
def test_any_bytes_go_in(body: bytes) -> None:
    rewritten = rewrite_results_urls(body, BASE)
    assert rewritten == body or b"results_url" in body


@given(cuts=cut_points())
def test_the_size_of_the_reads_makes_no_difference(cuts: list[int]) -> None:
    relay = ResultsUrlRelay(BASE)
    assert b"".join(relay.feed(read) for read in split(b'{"results_url":"%b"}' % URL.encode(), cuts)) == b""
    assert relay.finish() == b'{"results_url":"%b"}' % LOCAL.encode()


def test_a_listing_beyond_its_limit_is_a_502() -> None:
    relay = ResultsUrlRelay(BASE)
    relay.feed(bytes(MAX_BATCH_BODY))
    with pytest.raises(Refusal) as caught:
        relay.feed(b"x")
    assert caught.value.status == 502


def test_a_cut_listing_has_no_last_words() -> None:
    relay = ResultsUrlRelay(BASE)
    relay.feed(b'{"results_url":')
    assert relay.abort(Refusal(502, "cut")) is None
    assert relay.comment() is None
    assert not relay.failed
