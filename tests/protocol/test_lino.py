import pytest

from protocol.files import CorruptFile
from protocol.lino import (
    MAX_DEPTH,
    MAX_LINE_LENGTH,
    Line,
    Link,
    Word,
    read_document,
    read_link,
    word,
    write_part,
)


def test_a_link_has_words_and_links() -> None:
    link = Link(
        (Word("token"), Word("id-1"), Link((Word("label"), Word("a b", quoted=True))), Link((Word("n"), Word("-5"))))
    )
    assert read_link('(token id-1 (label "a b") (n -5))') == link
    assert write_part(link) == '(token id-1 (label "a b") (n -5))'


@pytest.mark.parametrize("text", ['( token  id-1\t(label"a b" )(n -5) ) ', '(token id-1(label "a b")(n\r-5))'])
def test_blanks_count_only_between_bare_words(text: str) -> None:
    assert write_part(read_link(text)) == '(token id-1 (label "a b") (n -5))'


@pytest.mark.parametrize(
    ("quoted", "text"),
    [
        (r"\"", '"'),
        (r"\\", "\\"),
        (r"\n\r\t", "\n\r\t"),
        (r"\x\(\é", "x(é"),
        (r"\\n", r"\n"),
        ("", ""),
        (") # (", ") # ("),
        ("\u2028\x85\x0b\x1c", "\u2028\x85\x0b\x1c"),
    ],
)
def test_a_backslash_makes_control_characters_or_stands_for_what_follows(quoted: str, text: str) -> None:
    assert read_link(f'(x "{quoted}")') == Link((Word("x"), Word(text, quoted=True)))
    assert read_link(write_part(Link((word("x"), word(text))))).parts[1] in (Word(text, quoted=True), Word(text))


@pytest.mark.parametrize(
    ("text", "bare"),
    [("550e8400-e29b", True), ("true", True), ("", False), ("a b", False), ("é", False), ("a\n", False)],
)
def test_a_word_is_bare_where_that_is_safe(text: str, bare: bool) -> None:
    assert word(text) == Word(text, quoted=not bare)


@pytest.mark.parametrize(
    "text",
    [
        "", "word", '"word"', "word (a)", ")", "(", "(a", "(a (b)", "(a))", "(a) (b)", "(a) b", "(a) # why", '(a "b)',
        '(a "b\\")', '(a ")', "(a\u00a0b)", "(a\x0bb)",
    ],
)  # fmt: skip
def test_what_is_not_one_link_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z ,]+$"):
        read_link(text)


def test_links_within_links_have_an_end() -> None:
    deepest = "(" * MAX_DEPTH + ")" * MAX_DEPTH
    assert write_part(read_link(deepest)) == deepest
    with pytest.raises(ValueError, match="within each other"):
        read_link(f"({deepest})")


def test_comments_and_blank_lines_are_told_from_links() -> None:
    document = read_document("f", "\ufeff# one\r\n\n  (a \u2028)  \r\n\t#two\n(b)".encode())
    assert document.comments == ("# one", "#two")
    assert document.lines == (Line(3, "(a \u2028)"), Line(5, "(b)"))


def test_an_empty_file_holds_nothing() -> None:
    assert read_document("f", b"") == read_document("f", b"\n \n")


def test_what_is_not_utf_8_is_found_by_its_line() -> None:
    with pytest.raises(CorruptFile, match=r"^/data/f, line 3: it is not UTF-8$"):
        read_document("/data/f", b"(a)\n(b)\n(\xff)\n")


def test_a_line_has_an_end() -> None:
    longest = b"x" * MAX_LINE_LENGTH
    assert len(read_document("f", longest + b"\n").lines) == 1
    with pytest.raises(CorruptFile, match="line 2: it is longer"):
        read_document("f", b"(a)\n" + longest + b"x")
