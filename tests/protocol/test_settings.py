# ruff: noqa: RUF009  # setting() returns a dataclass field
from dataclasses import dataclass, fields

import pytest

from protocol.kinds import BOOLEAN, PATH, PORT, SECRET, TEXT, URL
from protocol.settings import Setting, SettingError, setting, table
from protocol.values import Secret


@dataclass(frozen=True)
class Sample:
    port: int = setting("SAMPLE_PORT", PORT, "80", "Group", "A port.")
    admin_key: Secret | None = setting("SAMPLE_KEY", SECRET, None, "Group", "A key.")
    home_dir: str = setting("SAMPLE_DIR", PATH, "/srv/sample", "Group", "A folder.", under_home=".sample")
    loud: bool = setting("SAMPLE_LOUD", BOOLEAN, "false", "Group", "A switch.")
    filters: str = setting("SAMPLE_FILTER", TEXT, "all", "Group", "A text.", command_line=False)


PORT_ROW, KEY_ROW, DIR_ROW, LOUD_ROW, FILTER_ROW = table(Sample)


def row_of(kind_row: Setting, text: str, home: str | None = None) -> object:
    return kind_row.value_from({kind_row.env: text}, home)


def test_the_table_has_a_row_for_each_field_in_order() -> None:
    assert [row.name for row in table(Sample)] == [field.name for field in fields(Sample)]


def test_a_field_has_the_value_of_its_default_text() -> None:
    assert Sample() == Sample(port=80, admin_key=None, home_dir="/srv/sample", loud=False, filters="all")


def test_the_flag_follows_from_the_field() -> None:
    assert [row.flag for row in table(Sample)] == ["--port", "--admin-key", "--home-dir", "--loud", None]


def test_messages_use_every_name_of_a_setting() -> None:
    assert PORT_ROW.label == "--port / SAMPLE_PORT"
    assert FILTER_ROW.label == "SAMPLE_FILTER"


def test_only_a_boolean_is_a_switch() -> None:
    assert [row.is_switch for row in table(Sample)] == [False, False, False, True, False]


@pytest.mark.parametrize(("row", "default"), [(PORT_ROW, 80), (KEY_ROW, None), (LOUD_ROW, False), (FILTER_ROW, "all")])
def test_an_empty_text_is_the_same_as_none(row: Setting, default: object) -> None:
    assert row_of(row, "") == default
    assert row.value_from({}, None) == default


def test_blanks_around_a_value_count_only_where_they_can_be_part_of_it() -> None:
    assert row_of(PORT_ROW, " 81 ") == 81
    assert row_of(FILTER_ROW, "  ") == "all"
    assert row_of(KEY_ROW, " k ") == Secret(" k ")
    assert row_of(DIR_ROW, "/a ") == "/a "


@pytest.mark.parametrize(
    ("text", "home", "path"),
    [
        ("", "/home/ada", "/home/ada/.sample"),
        ("", "/", "/.sample"),
        ("", None, "/srv/sample"),
        ("", "", "/srv/sample"),
        ("~", "/home/ada", "/home/ada"),
        ("~/x", "/home/ada/", "/home/ada/x"),
        ("~/x", None, "~/x"),
        ("~ada/x", "/home/ada", "~ada/x"),
        ("/a/~/x", "/home/ada", "/a/~/x"),
    ],
)
def test_a_path_may_lie_under_the_home_directory(text: str, home: str | None, path: str) -> None:
    assert row_of(DIR_ROW, text, home) == path


def test_a_default_is_shown_as_an_operator_would_write_it() -> None:
    assert [row.shown_default for row in table(Sample)] == ["80", None, "$HOME/.sample", "false", "all"]


def test_a_wrong_value_names_the_setting_and_what_is_allowed() -> None:
    with pytest.raises(SettingError) as caught:
        row_of(PORT_ROW, "99999")
    expected = "--port / SAMPLE_PORT: cannot use '99999'; allowed: a whole number from 0 to 65535"
    assert (str(caught.value), caught.value.setting) == (expected, PORT_ROW)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingError) as caught:
        row_of(KEY_ROW, "hush\udc80")
    assert str(caught.value) == "--admin-key / SAMPLE_KEY: cannot use this value; allowed: any text in UTF-8"


def test_a_password_in_a_url_is_not_shown() -> None:
    row = Setting("base", "BASE", URL, None, "Group", "A URL.")
    with pytest.raises(SettingError) as caught:
        row_of(row, "ftp://ada:hush@host")
    assert "hush" not in str(caught.value)


def test_a_wrong_value_cannot_steer_the_terminal_it_is_shown_on() -> None:
    with pytest.raises(SettingError) as caught:
        row_of(PORT_ROW, "\x1b[2J\n1")
    assert str(caught.value).isprintable()
