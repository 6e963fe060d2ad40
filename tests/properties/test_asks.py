"""Whatever a body holds, it is read for what the request may cost, or for nothing."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from protocol.identity.attachments import attachments
from protocol.identity.token_desk import Ask, read_ask

NAMES = st.sampled_from(["model", "max_tokens", "max_output_tokens", "type", "source", "data", "url"])
WORDS = st.sampled_from(["image", "document", "base64", "data:image/png;base64,AAAA", "12", "1e3"]) | st.text(
    max_size=9
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
BODIES = st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode())


@given(BODIES)
@example(b"[" * 100_000 + b"base64")
@example(b'{"max_tokens":"' + b"9" * 5000 + b'"}')
@example(b'{"max_tokens":"\xff","a":"base64"}')
def test_no_body_is_too_odd(body: bytes) -> None:
    ask, attached = read_ask(body), attachments(body)
    assert ask.model is None or isinstance(ask.model, str)
    assert ask.most is None or isinstance(ask.most, int)
    assert 0 <= attached.size <= len(body)
    assert attached.tokens > 0 or attached.size == 0


@given(st.integers(0, 2**53), st.text(), st.dictionaries(st.just("messages"), VALUES))
def test_a_number_counts_however_it_is_written(most: int, model: str, rest: dict[str, Any]) -> None:
    for written in (most, float(most), str(most), f" {most}.0 "):
        assert read_ask(json.dumps({**rest, "max_tokens": written, "model": model}).encode()) == Ask(model, most)
