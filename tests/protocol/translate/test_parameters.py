import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from protocol.translate.capabilities import CURRENT, FAMILIES, Capabilities
from protocol.translate.effort import BUDGETS
from protocol.translate.errors import KINDS
from protocol.translate.parameters import CHAT, RESPONSES, Handling, Parameter
from tests.support.openai_requests import DROPPING, chat, refused, responses

PAGE = (Path(__file__).parents[3] / "docs" / "openai.md").read_text(encoding="utf-8")
EXTENSIONS = {"thinking", "cache_control", "top_k", "client_metadata"}
TABLES = [pytest.param(CHAT, chat, id="chat"), pytest.param(RESPONSES, responses, id="responses")]


def rows(heading: str) -> dict[str, tuple[str, ...]]:
    """The first table under a heading of the page: first cell to the others."""
    section = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip().replace("\\|", "|") for cell in line) for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells[1:]}


def written(table: Mapping[str, Parameter]) -> dict[str, tuple[str, ...]]:
    return {name: (parameter.handling.value, parameter.note) for name, parameter in table.items()}


def test_the_page_tells_what_becomes_of_every_parameter() -> None:
    assert rows("Parameters of Chat Completions") == written(CHAT)
    assert rows("Parameters of Responses") == written(RESPONSES)


def test_the_page_tells_what_each_family_of_models_accepts() -> None:
    def told(family: Capabilities) -> tuple[str, ...]:
        return (
            str(family.output_tokens),
            family.thinking.value,
            " ".join(family.efforts) or "no",
            *(
                "yes" if ability else "no"
                for ability in (family.sampling, family.structured_outputs, family.system_turns)
            ),
        )

    families = {f"{prefix}…": told(family) for prefix, family in FAMILIES.items()} | {"any other": told(CURRENT)}
    assert rows("What each model accepts") == families


def test_the_page_tells_every_error_and_budget() -> None:
    assert rows("Errors") == {
        name: (str(kind.status), f"`{kind.type}`", f"`{kind.code}`" if kind.code else "none")
        for name, kind in KINDS.items()
    }
    assert {name: int(row[0]) for name, row in rows("Budgets").items()} == BUDGETS


@pytest.mark.parametrize(
    ("table", "known"),
    [
        (CHAT, completion_create_params.CompletionCreateParamsStreaming.__annotations__),
        (RESPONSES, response_create_params.ResponseCreateParamsStreaming.__annotations__),
    ],
    ids=["chat", "responses"],
)
def test_the_tables_hold_every_parameter_of_openais_sdk_and_nothing_invented(
    table: Mapping[str, Parameter], known: Mapping[str, Any]
) -> None:
    assert set(table) == set(known) | EXTENSIONS


@pytest.mark.parametrize(("table", "ask"), TABLES)
def test_a_parameter_that_asks_for_nothing_is_accepted_in_silence(table: Mapping[str, Parameter], ask: Any) -> None:
    for name, parameter in table.items():
        for value in (None, *parameter.neutral):
            if name not in ("model", "messages", "input"):
                assert ask(**{name: value}).notes.omitted == ()


@pytest.mark.parametrize(("table", "ask"), TABLES)
def test_every_refused_parameter_is_named_and_can_be_dropped_unless_it_never_may(
    table: Mapping[str, Parameter], ask: Any
) -> None:
    for name, parameter in table.items():
        if parameter.handling in (Handling.REFUSED, Handling.ALWAYS_REFUSED):
            error = refused(ask, **{name: "x"})
            assert (error.status, error.param, error.code) == (400, name, "unsupported_parameter")
        if parameter.handling is Handling.REFUSED:
            assert ask(**{name: "x"}, options=DROPPING).notes.omitted == (name,)
        if parameter.handling is Handling.ALWAYS_REFUSED:
            assert refused(ask, **{name: "x"}, options=DROPPING).param == name


@pytest.mark.parametrize(("table", "ask"), TABLES)
def test_every_hint_is_accepted_left_out_and_reported(table: Mapping[str, Parameter], ask: Any) -> None:
    for name, parameter in table.items():
        if parameter.handling is Handling.OMITTED:
            translated = ask(**{name: "x-hint"})
            assert b"x-hint" not in translated.body
            assert translated.notes.omitted == (name,)
