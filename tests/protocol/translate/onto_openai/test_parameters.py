"""The page about this direction says what the code does, and the tables are complete."""

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic.types import beta, message_create_params
from anthropic.types.beta import message_create_params as beta_create_params

from protocol.translate.effort import BUDGETS
from protocol.translate.onto_openai.content import CONTENT_BLOCKS
from protocol.translate.onto_openai.errors import CODES, STATUSES, Meaning
from protocol.translate.onto_openai.outcomes import FAILURES, INCOMPLETE
from protocol.translate.onto_openai.parameters import MESSAGE, ONTO_CHAT, ONTO_RESPONSES, OUTPUT_CONFIG, TOOL
from protocol.translate.onto_openai.servers import ChatServer, ResponsesServer, Server
from protocol.translate.onto_openai.thinking import ENCRYPTED_PREFIX, UNSIGNED
from protocol.translate.outcomes import STOP_REASONS
from protocol.translate.parameters import Handling, Parameter
from tests.support.messages_requests import HI, WEATHER, ask
from tests.support.openai_requests import refused

PAGE = (Path(__file__).parents[4] / "docs" / "onto-openai.md").read_text(encoding="utf-8")
TABLES = {
    "Parameters": ONTO_CHAT,
    "Fields of output_config": OUTPUT_CONFIG,
    "Messages": MESSAGE,
    "Tools": TOOL,
}
OLDER = {"temperature", "top_p", "top_k", "output_format"}
"""Parameters that are gone from the newest SDK, and that models and clients still know."""

IN_HEADERS = {"betas", "user_profile_id", "workspace_id"}


def rows(heading: str) -> dict[str, tuple[str, ...]]:
    """The first table under a heading of the page: first cell to the others."""
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    table = re.search(r"^\|.*?(?=\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    assert table is not None
    cells = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in table[0].splitlines()]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


@pytest.mark.parametrize(("heading", "table"), TABLES.items(), ids=TABLES)
def test_the_page_tells_what_becomes_of_every_field(heading: str, table: Mapping[str, Parameter]) -> None:
    assert rows(heading) == {name: (parameter.handling.value, parameter.note) for name, parameter in table.items()}


def test_the_page_tells_every_block() -> None:
    told = {name.strip("` ") for row in rows("Blocks") for name in row.split(",")}
    elsewhere = {"tool_use", "tool_result", "thinking", "redacted_thinking", "tool_addition", "tool_removal"}
    assert told == CONTENT_BLOCKS | elsewhere | {"any other"}


@pytest.mark.parametrize(
    ("heading", "server"),
    [
        ("Servers of either API", Server),
        ("Servers of Chat Completions", ChatServer),
        ("Options of Responses servers", ResponsesServer),
    ],
)
def test_the_page_tells_every_way_in_which_servers_differ(heading: str, server: type[Server]) -> None:
    options = rows(heading)
    own = {field.name: field for field in msgspec.structs.fields(server) if field.name in server.__annotations__}
    assert set(options) == set(own)
    for name, field in own.items():
        if isinstance(field.default, Enum):
            values = {member.value for member in type(field.default)}
            assert set(re.findall(r"`(\w+)`", options[name][0])) == values
            assert f"`{field.default.value}` (default)" in options[name][0]


def test_the_page_tells_what_differs_for_servers_of_the_responses_api() -> None:
    differs = {name: parameter for name, parameter in ONTO_RESPONSES.items() if parameter != ONTO_CHAT[name]}
    assert rows("Servers of the Responses API") == {
        name: (parameter.handling.value, parameter.note) for name, parameter in differs.items()
    }
    assert all(f"| `{reason}` | `{stop}` |" in PAGE for reason, stop in INCOMPLETE.items())
    assert f"`{UNSIGNED}`" in PAGE
    assert f"`{ENCRYPTED_PREFIX}`" in PAGE


def test_the_page_tells_every_budget_ending_and_error() -> None:
    budgets = rows("Budgets")
    assert {name: row for name, row in budgets.items() if name != "max"} == {
        name: (str(tokens),) for name, tokens in BUDGETS.items() if name != "max"
    }
    answers = rows("Answers")
    assert {name: row for name, row in answers.items() if name in STOP_REASONS} == {
        name: (f"`{reason}`",) for name, reason in STOP_REASONS.items()
    }
    assert all(f"`{reason}`" in PAGE for reason in FAILURES)

    def told(meanings: Mapping[Any, Meaning]) -> dict[str, tuple[str, ...]]:
        return {str(name): (str(meaning.status), f"`{meaning.kind}`") for name, meaning in meanings.items()}

    assert rows("By code") == told(CODES)
    assert {name: row for name, row in rows("By status").items() if name.isdigit()} == told(STATUSES)


def test_the_tables_hold_every_field_of_anthropics_sdk_and_nothing_invented() -> None:
    plain = message_create_params.MessageCreateParamsStreaming.__annotations__
    known = set(beta_create_params.MessageCreateParamsStreaming.__annotations__) | set(plain)
    assert set(ONTO_CHAT) == (known - IN_HEADERS) | OLDER
    assert set(TOOL) == set(beta.BetaToolParam.__annotations__)
    assert set(OUTPUT_CONFIG) == set(beta.BetaOutputConfigParam.__annotations__)
    assert set(MESSAGE) == set(beta.BetaSystemMessageParam.__annotations__)


def test_a_parameter_that_asks_for_nothing_is_accepted_in_silence() -> None:
    for name, parameter in ONTO_CHAT.items():
        for value in (None, *parameter.neutral):
            if name not in ("model", "messages", "max_tokens"):
                assert ask(**_only(name, value)).omitted == ()
    for name, parameter in TOOL.items():
        for value in parameter.neutral:
            assert ask(tools=[WEATHER | {name: value}]).omitted == ()


def test_every_refused_parameter_is_named_and_can_be_dropped_unless_it_never_may() -> None:
    for name, parameter in ONTO_CHAT.items():
        if parameter.handling in (Handling.REFUSED, Handling.ALWAYS_REFUSED):
            error = refused(ask, **_only(name, "x"))
            assert (error.status, error.kind, error.param) == (400, "invalid_request_error", name)
            assert error.message.startswith(f"{name}: ")
        if parameter.handling is Handling.REFUSED:
            assert ask(**_only(name, "x"), drop=True).omitted == (name,)
        if parameter.handling is Handling.ALWAYS_REFUSED:
            assert refused(ask, **_only(name, "x"), drop=True).param == name


def test_every_hint_is_accepted_left_out_and_reported_once() -> None:
    for name, parameter in ONTO_CHAT.items():
        if parameter.handling is Handling.OMITTED:
            call = ask(**_only(name, "x-hint"))
            assert b"x-hint" not in call.body
            assert call.omitted == (name,)
    for name, parameter in TOOL.items():
        if parameter.handling is Handling.OMITTED:
            tools = [WEATHER | {"name": f"tool_{at}", name: "x-hint"} for at in range(3)]
            assert ask(tools=tools).omitted == (name,)


def _only(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


@pytest.mark.parametrize(
    ("place", "request_fields"),
    [
        ("telepathy", {"telepathy": 1}),
        ("messages.0.telepathy", {"messages": [HI | {"telepathy": 1}]}),
        ("tools.0.telepathy", {"tools": [WEATHER | {"telepathy": 1}]}),
        ("output_config.telepathy", {"output_config": {"telepathy": 1}}),
        ("messages.0.output_config.telepathy", {"messages": [HI | {"output_config": {"telepathy": 1}}]}),
    ],
)
def test_an_unknown_field_is_refused_in_the_words_that_claude_code_reads(
    place: str, request_fields: dict[str, Any]
) -> None:
    error = refused(ask, **request_fields)
    assert (error.status, error.message) == (400, f"{place}: Extra inputs are not permitted")
    assert ask(**request_fields, drop=True).omitted == (place,)
