from hypothesis import given
from hypothesis import strategies as st

from cli.results import Column, cells_wide, table_text

COLUMNS = (Column("name", 6), Column("n", 2), Column("home"))


def test_columns_are_as_wide_as_promised_with_two_blanks_between() -> None:
    assert table_text(COLUMNS, [("a", "1", "/x"), ("b", "22", "/y")]) == (
        "name    n   home\n"
        "a       1   /x\n"
        "b       22  /y"
    )  # fmt: skip


def test_a_column_grows_with_its_longest_cell() -> None:
    assert table_text(COLUMNS, [("account-12", "1234567", "")]) == (
        "name        n        home\n"
        "account-12  1234567"
    )  # fmt: skip


def test_without_rows_the_headings_stand_alone() -> None:
    assert table_text(COLUMNS, []) == "name    n   home"


def test_wide_and_combining_characters_take_the_room_that_a_terminal_gives_them() -> None:
    shown = table_text((Column("name"), Column("next")), [("数据", "x"), ("e\N{COMBINING ACUTE ACCENT}", "x")])
    assert shown == "name  next\n数据  x\ne\N{COMBINING ACUTE ACCENT}     x"


def test_a_cell_cannot_command_the_terminal() -> None:
    assert table_text((Column("label"),), [("\x1b[2Ja\nb\udcff",)]) == "label\n\ufffd[2Ja\ufffdb\ufffd"


@given(st.lists(st.tuples(st.text(), st.text(), st.text())))
def test_every_row_is_one_line_and_columns_begin_where_their_heading_does(rows: list[tuple[str, str, str]]) -> None:
    marked = [(first, second, f"|{third}") for first, second, third in rows]
    first_line, *lines = table_text((Column("a"), Column("b"), Column("|")), marked).split("\n")
    assert len(lines) == len(rows)
    start = cells_wide(first_line.partition("|")[0])
    for line, row in zip(lines, marked, strict=True):
        if "|" not in row[0] + row[1]:
            assert cells_wide(line.partition("|")[0]) == start
