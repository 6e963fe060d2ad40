import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import Log, LogLevel
from protocol.config import LogFormat
from transports.logs import LogWriter, json_line, least_level, text_line

WALL = 1795401638.123456  # 2026-11-23T02:40:38.123456Z

any_text = st.text(st.characters())  # lone surrogates too
any_fields = st.dictionaries(any_text, st.none() | st.integers() | st.floats() | any_text, max_size=4)


def record(event: str, level: LogLevel = LogLevel.INFO, **fields: str | float | None) -> Log:
    return Log(level, event, fields)


def text(log: Log) -> str:
    return text_line(log, WALL).decode()


def test_a_text_line_looks_as_tracing_writes_it() -> None:
    line = text(record("Listening on 0.0.0.0:8080"))
    assert line == "2026-11-23T02:40:38.123456Z  INFO Listening on 0.0.0.0:8080\n"


@pytest.mark.parametrize(
    ("level", "column"), [(level, f"Z {level.name:>5} x\n") for level in LogLevel], ids=lambda value: str(value).strip()
)
def test_levels_are_aligned(level: LogLevel, column: str) -> None:
    assert text(record("x", level)).endswith(column)


def test_fields_follow_the_event() -> None:
    line = text(record("request", method="POST", status=200, first_byte_ms=1.5, account=None))
    assert line.endswith(" request method=POST status=200 first_byte_ms=1.5 account=null\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("a\\b", '"a\\\\b"'),
        ("a=b", '"a=b"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u{1b}[31m"'),
        ("\u202egpj.exe", '"\\u{202e}gpj.exe"'),
        ("\udc80", '"\\u{dc80}"'),
        ("héllo", "héllo"),
    ],
)
def test_a_value_cannot_be_misread(value: str, shown: str) -> None:
    assert text(record("x", field=value)).endswith(f" x field={shown}\n")


def test_an_event_cannot_begin_a_line_of_its_own() -> None:
    line = text(record("bad path /\r\n2026-11-23T02:40:38Z  INFO all is well"))
    assert line.endswith("bad path /\\r\\n2026-11-23T02:40:38Z  INFO all is well\n")


@given(any_text, any_fields)
def test_any_record_is_one_visible_line_of_text(event: str, fields: Mapping[str, str | float | None]) -> None:
    line = text_line(Log(LogLevel.WARN, event, fields), WALL).decode()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_a_json_line_is_flat() -> None:
    line = json_line(record("request", status=200, label="two words"), WALL)
    assert json.loads(line) == {
        "timestamp": "2026-11-23T02:40:38.123456Z",
        "level": "INFO",
        "message": "request",
        "status": 200,
        "label": "two words",
    }


def test_a_field_cannot_take_the_place_of_a_json_lines_own() -> None:
    line = json.loads(json_line(Log(LogLevel.ERROR, "real", {"message": "forged", "level": "TRACE"}), WALL))
    assert (line["message"], line["level"]) == ("real", "ERROR")


@given(any_text, any_fields)
def test_any_record_is_one_line_of_json_in_plain_ascii(event: str, fields: dict[str, Any]) -> None:
    line = json_line(Log(LogLevel.WARN, event, fields), WALL).decode("ascii")
    assert line.count("\n") == 1
    assert all(char >= " " for char in line[:-1])
    read = json.loads(line)
    assert read["message"] == event
    own = {"timestamp", "level", "message"}
    texts = {key: value for key, value in fields.items() if isinstance(value, str) and key not in own}
    assert {key: read[key] for key in texts} == texts


@pytest.mark.parametrize(
    ("directives", "level"),
    [
        ("", LogLevel.INFO),
        ("info", LogLevel.INFO),
        ("DEBUG", LogLevel.DEBUG),
        ("trace", LogLevel.TRACE),
        ("error", LogLevel.ERROR),
        ("off", None),
        ("0", None),
        ("5", LogLevel.TRACE),
        (" warn , hyper=trace ", LogLevel.WARN),
        ("info,warn", LogLevel.WARN),
        ("warn,link_assistant_router=debug", LogLevel.DEBUG),
        ("link_assistant_router=debug,warn", LogLevel.DEBUG),
        ("debug,link_assistant_router=error", LogLevel.ERROR),
        ("debug,link_assistant_router=off", None),
        ("link_assistant_router", LogLevel.TRACE),
        ("link_assistant_router=", LogLevel.TRACE),
        ("warn,link_assistant_router::proxy=debug", LogLevel.DEBUG),
        ("warn,link_assistant_router_extra=trace", LogLevel.WARN),
        ("hyper=debug,tower_http=trace", LogLevel.INFO),
        ("link_assistant_router[span{a=1}]=trace", LogLevel.INFO),
        ("link_assistant_router=loud", LogLevel.INFO),
        ("loud", LogLevel.INFO),
    ],
)
def test_rust_log_is_read_as_users_of_the_rust_program_know_it(directives: str, level: LogLevel | None) -> None:
    assert least_level(directives, verbose=False) is level


@pytest.mark.parametrize(
    ("directives", "level"), [("info", LogLevel.DEBUG), ("off", LogLevel.DEBUG), ("trace", LogLevel.TRACE)]
)
def test_verbose_means_debug_at_least(directives: str, level: LogLevel) -> None:
    assert least_level(directives, verbose=True) is level


@given(st.text() | st.text("=,:[]link_assistant_router debug0"), st.booleans())
def test_any_directives_give_a_level(directives: str, verbose: bool) -> None:
    level = least_level(directives, verbose=verbose)
    assert level in {None, *LogLevel}
    assert not verbose or (level is not None and level <= LogLevel.DEBUG)


def written(least: LogLevel | None, log_format: LogFormat = LogFormat.TEXT) -> list[bytes]:
    """What is written of one record of every level."""
    lines: list[bytes] = []
    report = LogWriter(lines.append, log_format, least, lambda: WALL)
    for level in LogLevel:
        report(record("x", level))
    return lines


@pytest.mark.parametrize(("least", "count"), [(LogLevel.TRACE, 5), (LogLevel.WARN, 2), (LogLevel.ERROR, 1), (None, 0)])
def test_only_what_is_severe_enough_is_written(least: LogLevel | None, count: int) -> None:
    assert len(written(least)) == count


def test_each_record_is_one_write_in_the_chosen_format() -> None:
    assert written(LogLevel.ERROR) == [text_line(record("x", LogLevel.ERROR), WALL)]
    assert written(LogLevel.ERROR, LogFormat.JSON) == [json_line(record("x", LogLevel.ERROR), WALL)]


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left"), ValueError("closed file")])
def test_a_stream_that_is_gone_is_no_reason_to_stop(error: Exception) -> None:
    def fail(_: bytes) -> None:
        raise error

    report = LogWriter(fail, LogFormat.TEXT, LogLevel.INFO, lambda: WALL)
    report(record("lost"))
    report(record("lost too"))
