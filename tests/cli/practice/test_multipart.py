from contextlib import suppress

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.practice.multipart import Part, form
from protocol.errors import Refusal

awkward = st.binary(max_size=50) | st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n--", b"x"])).map(b"".join)
names = st.text(alphabet=st.sampled_from("abc déß€"), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(content=awkward, filename=names, value=st.text(alphabet="ab \r\n-", max_size=10))
def test_what_an_independent_encoder_packs_is_unpacked(content: bytes, filename: str, value: str) -> None:
    sent = httpx2.Request(
        "POST",
        "http://practice/",
        files={"file": (filename, content, "text/csv; a=b")},
        data={"expires_in_seconds": value},
    )
    parts = form(sent.headers["content-type"].encode(), sent.read())
    assert parts["file"] == Part("file", filename, "text/csv; a=b", content)
    assert (parts["expires_in_seconds"].filename, parts["expires_in_seconds"].data) == (None, value.encode())


@given(content_type=st.binary() | st.just(b"multipart/form-data; boundary=x"), body=st.binary() | awkward)
def test_any_bytes_are_read_or_refused(content_type: bytes, body: bytes) -> None:
    with suppress(Refusal):
        form(content_type, body)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", b"--x--"),
        (b"multipart/form-data", b"--x--"),
        (b"multipart/form-data; boundary=x", b""),
        (b"multipart/form-data; boundary=x", b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1"),
        (b"multipart/form-data; boundary=x", b"--x\r\nno header\r\n--x--"),
        (b"multipart/form-data; boundary=x", b"--x\r\ncontent-disposition: form-data\r\n\r\n1\r\n--x--"),
        (b"multipart/form-data; boundary=x", b"--xy\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--"),
    ],
)
def test_a_form_that_breaks_off_or_is_none_is_refused(content_type: bytes, body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        form(content_type, body)
    assert refused.value.status == 400
