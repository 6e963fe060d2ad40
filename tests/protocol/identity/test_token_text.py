import pytest

from protocol.files import CorruptFile
from protocol.identity.token_record import TokenRecord
from protocol.identity.token_text import HEADER, read_text, write_text

RECORD = TokenRecord("550e8400-e29b-41d4-a716-446655440000", "my-token", 1710806400, 1710892800)
LINE = (
    '(token 550e8400-e29b-41d4-a716-446655440000 (label "my-token") (issued_at 1710806400) (expires_at 1710892800) '
    "(revoked false))"
)
FULL = TokenRecord(
    "a", 'say "hi"\n', 1, 2, revoked=True, account="work", signed_until=3, max_requests=4, requests_per_minute=5,
    token_budget=6, models=("claude-*", "x y"),
)  # fmt: skip
FULL_LINE = (
    r'(token a (label "say \"hi\"\n") (issued_at 1) (expires_at 2) (revoked true) (account "work") (signed_until 3) '
    r'(max_requests 4) (requests_per_minute 5) (token_budget 6) (models "claude-*" "x y"))'
)


def written(*records: TokenRecord, present: bytes = b"") -> list[str]:
    lines = write_text("f", records, present).decode().split("\n")
    assert lines.pop() == ""
    return lines


def read(*lines: str) -> list[TokenRecord]:
    return read_text("/data/tokens.lino", "\n".join(lines).encode())


def test_the_file_has_two_comments_and_one_line_for_each_token_by_id() -> None:
    assert written(FULL, RECORD) == [*HEADER, LINE, FULL_LINE]
    assert all(line.startswith("# ") for line in HEADER)
    assert read(*HEADER, LINE, FULL_LINE) == [RECORD, FULL]


def test_an_account_stands_behind_what_every_token_has() -> None:
    record = TokenRecord("a", account="wörk")
    line = '(token a (label "") (issued_at 0) (expires_at 0) (revoked false) (account "wörk"))'
    assert written(record)[2:] == [line]
    assert read(line) == [record]


def test_what_is_missing_has_its_default() -> None:
    assert read("(token a)") == [TokenRecord("a")]


@pytest.mark.parametrize(
    ("text", "revoked"), [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False)]
)
def test_truth_has_more_than_one_spelling(text: str, revoked: bool) -> None:
    assert read(f"(token a (revoked {text}))") == [TokenRecord("a", revoked=revoked)]


def test_an_id_that_is_no_bare_word_is_quoted() -> None:
    record = TokenRecord("odd (id)")
    assert written(record)[2].startswith('(token "odd (id)" ')
    assert read(*written(record)) == [record]


def test_fields_of_a_newer_version_are_kept_as_they_are() -> None:
    line = '(token a (label "x") (colour "d\\"eep" red) (issued_at 1) (nested (a (b 1)) ()) (colour 2))'
    (record,) = read(line)
    assert record.unknown_links == (
        ("colour", '(colour "d\\"eep" red) (colour 2)'),
        ("nested", "(nested (a (b 1)) ())"),
    )
    (again,) = written(record)[2:]
    assert again.endswith('(revoked false) (colour "d\\"eep" red) (colour 2) (nested (a (b 1)) ()))')
    assert read(again) == [record]


def test_comments_that_are_there_stay() -> None:
    assert written(RECORD, present=b"# mine\n(token a)\n  # also mine\n") == ["# mine", "# also mine", LINE]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("(provider a)", "unknown kind"),
        ("(token)", "no id"),
        ("(token (label x))", "no id"),
        ('(token "")', "id"),
        ("(token a b)", "field has no name"),
        ("(token a ((b) c))", "field has no name"),
        ("(token a ())", "field has no name"),
        ("(token a (label))", "label has no value"),
        ("(token a (label (x)))", "label has no value"),
        ("(token a (models))", "models has no value"),
        ("(token a (label x y))", "label has more than one value"),
        ("(token a (label x) (label y))", "label is there twice"),
        ("(token a (id b))", "id is there twice"),
        ("(token a (revoked maybe))", "neither true nor false"),
        ("(token a (issued_at soon))", "issued_at is not a number"),
        ("(token a (issued_at ١))", "issued_at is not a number"),
        ("(token a (issued_at 1_0))", "issued_at is not a number"),
        ("(token a (issued_at 9999999999999999999))", "issued_at"),
        ("(token a (max_requests -1))", "max_requests"),
        ("(token a (requests_per_minute 0))", "requests_per_minute"),
        ("token a", "one link"),
        ("(token a", "not closed"),
    ],
)
def test_what_cannot_be_understood_is_found_by_its_line(line: str, reason: str) -> None:
    with pytest.raises(CorruptFile, match=f"^/data/tokens.lino, line 3: .*{reason}"):
        read("# a comment", LINE, line)


def test_the_comments_of_a_corrupt_file_are_not_taken_over() -> None:
    with pytest.raises(CorruptFile):
        write_text("f", [RECORD], b"\xff")
