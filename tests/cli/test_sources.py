from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import ConfigurationError
from cli.sources import Entry, Reading, Sources, gather, read_dotenv, read_lenv

README_SAMPLE = """\
TOKEN_SECRET: your-router-token-secret
UPSTREAM_PROVIDER: openai-compatible
OPENAI_COMPATIBLE_PROVIDER_NAME: litellm
OPENAI_COMPATIBLE_BASE_URL: http://litellm:4000/v1
OPENAI_COMPATIBLE_MODEL: claude-sonnet
OPENAI_COMPATIBLE_MODELS: claude-sonnet,gpt-4o
"""


def lenv(text: str) -> dict[str, str]:
    return last_values(read_lenv(text, ".lenv"))


def last_values(reading: Reading) -> dict[str, str]:
    return {entry.key: entry.text for entry in reading.entries}


def gathered(
    folder: Path, command_line: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> Sources:
    return gather(command_line or {}, environment or {}, folder)


def test_the_sample_of_the_readme_is_read_as_it_stands() -> None:
    reading = read_lenv(README_SAMPLE, ".lenv")
    assert last_values(reading) == {
        "TOKEN_SECRET": "your-router-token-secret",
        "UPSTREAM_PROVIDER": "openai-compatible",
        "OPENAI_COMPATIBLE_PROVIDER_NAME": "litellm",
        "OPENAI_COMPATIBLE_BASE_URL": "http://litellm:4000/v1",
        "OPENAI_COMPATIBLE_MODEL": "claude-sonnet",
        "OPENAI_COMPATIBLE_MODELS": "claude-sonnet,gpt-4o",
    }


def test_settings_of_features_that_are_yet_to_come_are_warned_about() -> None:
    assert read_lenv("TOKEN_SECRET: x\nGONKA_MODEL: y", ".lenv").warnings == (
        ".lenv line 2: GONKA_MODEL has no effect in this version",
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n \n\t\n", {}),
        ("# KEY: value", {}),
        ("  # KEY: value", {}),
        ("KEY: value", {"KEY": "value"}),
        ("KEY: value\r\nOTHER: x\r\n", {"KEY": "value", "OTHER": "x"}),
        ("  KEY : value", {"KEY": "value"}),
        ("KEY: a: b: c", {"KEY": "a: b: c"}),
        ("KEY: http://host:1/", {"KEY": "http://host:1/"}),
        ("KEY: value # no comment", {"KEY": "value # no comment"}),
        ("KEY: value  ", {"KEY": "value  "}),
        ("KEY:  value", {"KEY": " value"}),
        ("KEY: ", {"KEY": ""}),
        ("KEY: one\nKEY: two", {"KEY": "two"}),
        ('KEY: "two words"', {"KEY": "two words"}),
        ("KEY: 'a # b'  ", {"KEY": "a # b"}),
        ('KEY: " kept "', {"KEY": " kept "}),
        ('KEY: ""', {"KEY": ""}),
        ('KEY: "', {"KEY": '"'}),
        ('KEY: "open', {"KEY": '"open'}),
        ("KEY: \"mixed'", {"KEY": "\"mixed'"}),
        ('KEY: "a" and "b"', {"KEY": '"a" and "b"'}),
        ("KEY: a\\nb", {"KEY": "a\\nb"}),
        ("KEY: a\u2028b\x0bc", {"KEY": "a\u2028b\x0bc"}),
        ("KEY:value", {}),
        ("KEY=value", {}),
        ("KEY:", {}),
    ],
)
def test_a_lenv_file_has_a_key_and_a_value_on_a_line(text: str, values: Mapping[str, str]) -> None:
    assert lenv(text) == values


@pytest.mark.parametrize("line", ["KEY:value", "KEY=value", "KEY:", "just words"])
def test_a_line_without_a_colon_and_blank_is_warned_about_without_showing_it(line: str) -> None:
    assert read_lenv(f"# first\n{line}\n", ".lenv").warnings == (
        '.lenv line 2 has no effect: it is not "KEY: value", with a colon and a blank',
    )


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("TOKEN_SECERT: x", ".lenv line 1: TOKEN_SECERT has no effect; did you mean TOKEN_SECRET?"),
        ("router_port: 1", ".lenv line 1: router_port has no effect; did you mean ROUTER_PORT?"),
        ("ROUTING_MODE: cli", ".lenv line 1: ROUTING_MODE has no effect in this version"),
    ],
)
def test_a_key_that_looks_like_ours_is_warned_about(line: str, warning: str) -> None:
    assert read_lenv(line, ".lenv").warnings == (warning,)


@pytest.mark.parametrize("key", ["DATABASE_URL", "GITHUB_TOKEN", "PORT", "HOST", "ANTHROPIC_BASE_URL"])
def test_keys_of_other_programs_pass_in_silence(key: str) -> None:
    assert read_lenv(f"{key}: x", ".lenv").warnings == ()
    assert read_dotenv(f"{key}=x", ".env").warnings == ()


@pytest.mark.parametrize("line", ["TOKEN_SECRET: s3cret ", "TOKEN_SECRET:  s3cret", "DATA_DIR: /data\t"])
def test_blanks_that_become_part_of_a_value_are_warned_about(line: str) -> None:
    (warning,) = read_lenv(line, ".lenv").warnings
    assert warning.startswith(".lenv line 1: the blanks around the value of ")
    assert "s3cret" not in warning


@pytest.mark.parametrize("line", ["ROUTER_PORT: 80 ", 'TOKEN_SECRET: "s3cret" ', "OTHER: x "])
def test_blanks_that_do_not_count_are_not(line: str) -> None:
    assert read_lenv(line, ".lenv").warnings == ()


keys = st.from_regex(r"[A-Z]+(_[A-Z]+){0,3}", fullmatch=True)
plain_values = st.text(st.characters(exclude_characters="\n\r\"'", codec="utf-8"))


@given(st.dictionaries(keys, plain_values), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_as_key_colon_value_is_read_back(values: dict[str, str], line_end: str) -> None:
    assert lenv("".join(f"{key}: {value}{line_end}" for key, value in values.items())) == values


@given(st.text() | st.text("KEY: =#'\"\n\r\\$"))
def test_any_file_is_read_line_by_line(text: str) -> None:
    lines = text.count("\n") + text.count("\r") + 1  # for dotenv a carriage return ends a line, too
    assert len(read_lenv(text, ".lenv").entries) <= lines
    assert len(read_dotenv(text, ".env").entries) <= lines


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ROUTER_PORT=81\n", {"ROUTER_PORT": "81"}),
        ("export ROUTER_PORT=81 # why\r\n", {"ROUTER_PORT": "81"}),
        ("TOKEN_SECRET='a b'\n", {"TOKEN_SECRET": "a b"}),
        ('TOKEN_SECRET="a\\nb"\n', {"TOKEN_SECRET": "a\nb"}),
        ("TOKEN_SECRET=pa$HOME${HOME}\n", {"TOKEN_SECRET": "pa$HOME${HOME}"}),
        ("TOKEN_SECRET=\n", {"TOKEN_SECRET": ""}),
        ("TOKEN_SECRET\n", {}),
        ("A=1\nA=2\n", {"A": "2"}),
    ],
)
def test_a_dotenv_file_is_read_as_dotenv_has_it(text: str, values: Mapping[str, str]) -> None:
    assert last_values(read_dotenv(text, ".env")) == values


def test_dotenv_entries_and_warnings_name_their_lines() -> None:
    reading = read_dotenv("# c\n\nROUTER_PORT=81\n\n'oops\n\nUPSTREAM_PROVIDR=x\n", ".env")
    assert reading.entries[0] == Entry("ROUTER_PORT", "81", ".env line 3")
    assert reading.warnings == (
        '.env line 5 has no effect: it is not "KEY=value"',
        ".env line 7: UPSTREAM_PROVIDR has no effect; did you mean UPSTREAM_PROVIDER?",
    )


@pytest.mark.parametrize(
    ("given", "port", "place"),
    [
        (("line", "environment", "lenv", "env"), "1", "the command line"),
        (("environment", "lenv", "env"), "2", "the environment"),
        (("lenv", "env"), "3", ".lenv line 2"),
        (("env",), "4", ".env line 1"),
    ],
)
def test_the_first_source_that_has_a_value_gives_it(
    given: tuple[str, ...], port: str, place: str, tmp_path: Path
) -> None:
    if "lenv" in given:
        (tmp_path / ".lenv").write_text("# ours\nROUTER_PORT: 3\n")
    if "env" in given:
        (tmp_path / ".env").write_text("ROUTER_PORT=4\n")
    sources = gathered(
        tmp_path,
        {"ROUTER_PORT": "1"} if "line" in given else {},
        {"ROUTER_PORT": "2"} if "environment" in given else {},
    )
    assert (sources.values["ROUTER_PORT"], sources.places["ROUTER_PORT"]) == (port, place)


def test_each_setting_comes_from_its_own_source(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("TOKEN_SECRET: from lenv\nROUTER_HOST: lenv.example\n")
    (tmp_path / ".env").write_text("VERBOSE=true\nROUTER_HOST=env.example\n")
    sources = gathered(tmp_path, {"ROUTER_PORT": "1"}, {"LOG_FORMAT": "json", "PATH": "/bin"})
    assert sources.values == {
        "ROUTER_PORT": "1",
        "LOG_FORMAT": "json",
        "TOKEN_SECRET": "from lenv",
        "ROUTER_HOST": "lenv.example",
        "VERBOSE": "true",
    }


def test_an_empty_value_hides_later_sources(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("TOKEN_ADMIN_KEY: key\n")
    assert gathered(tmp_path, environment={"TOKEN_ADMIN_KEY": ""}).values == {"TOKEN_ADMIN_KEY": ""}


def test_files_are_looked_for_in_the_current_directory_only(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("ROUTER_PORT: 3\n")
    below = tmp_path / "below"
    below.mkdir()
    assert gathered(below).values == {}


def test_a_missing_folder_is_like_missing_files(tmp_path: Path) -> None:
    assert gathered(tmp_path / "gone") == Sources({}, {}, ())


def test_a_virtual_environment_called_dotenv_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert gathered(tmp_path) == Sources({}, {}, ())


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_bytes(b"\xef\xbb\xbfROUTER_PORT: 3\r\n")
    assert gathered(tmp_path).values == {"ROUTER_PORT": "3"}


def test_a_file_that_is_not_text_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_bytes(b"TOKEN_SECRET: \xff\n")
    with pytest.raises(ConfigurationError, match=r"\.lenv: byte 14 is not UTF-8$"):
        gathered(tmp_path)


def test_a_file_that_cannot_be_opened_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / ".lenv").symlink_to(".lenv")
    with pytest.raises(ConfigurationError, match=r"cannot read .*\.lenv"):
        gathered(tmp_path)


def test_an_environment_for_features_that_are_yet_to_come_is_warned_about(tmp_path: Path) -> None:
    sources = gathered(tmp_path, environment={"ROUTING_MODE": "cli", "TOKEN_SECERT": "x"})
    assert sources.warnings == ("ROUTING_MODE in the environment has no effect in this version",)


def test_the_proxy_variables_count_in_lower_case_too_and_first(tmp_path: Path) -> None:
    environment = {"https_proxy": "http://lower", "HTTPS_PROXY": "http://upper", "NO_PROXY": "a", "no_proxy": "b"}
    assert gathered(tmp_path, environment=environment).values == {"HTTPS_PROXY": "http://lower", "NO_PROXY": "b"}
    assert gathered(tmp_path, {"HTTPS_PROXY": "http://flag"}, environment).values["HTTPS_PROXY"] == "http://flag"
    assert gathered(tmp_path, environment={"token_secret": "x"}).values == {}


def test_the_proxy_variables_count_in_lower_case_in_files(tmp_path: Path) -> None:
    assert lenv("http_proxy: http://a") == {"HTTP_PROXY": "http://a"}
    assert read_lenv("http_proxy: http://a", ".lenv").warnings == ()
    assert last_values(read_dotenv("export all_proxy=http://a", ".env")) == {"ALL_PROXY": "http://a"}
