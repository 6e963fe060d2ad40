"""When the JSON of a call is whole, whatever pieces it comes in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.translate.onto_openai.blocks import JsonScan
from tests.support.splits import cut_points

objects = st.dictionaries(st.text(), st.text() | st.lists(st.text() | st.integers()), max_size=4)


def scanned(*pieces: str) -> JsonScan:
    scan = JsonScan()
    for piece in pieces:
        scan.feed(piece)
    return scan


@given(value=objects, cuts=cut_points(), indent=st.none() | st.integers(0, 2))
def test_an_object_is_whole_at_its_end_and_not_before(value: Any, cuts: list[int], indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    places = sorted({cut % len(text) for cut in cuts})
    scan = JsonScan()
    for begin, end in zip([0, *places], [*places, len(text)], strict=True):
        assert not scan.whole
        scan.feed(text[begin:end])
    assert scan.whole
    assert not any(scanned(text[:end]).whole for end in range(len(text)))


@pytest.mark.parametrize("pieces", [[], [""], [" "], ["1"], ['"{}"'], ['{"a":"\\', '"}'], ['{"\\', "", '"'], ["}"]])
def test_anything_else_is_not(pieces: list[str]) -> None:
    assert not scanned(*pieces).whole


def test_an_escape_may_be_cut_anywhere() -> None:
    assert scanned('{"a":"\\', '\\"}').whole
    assert scanned('{"a":"\\', "", '""}').whole
