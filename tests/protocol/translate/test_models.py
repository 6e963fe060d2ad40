import json
from typing import get_args

import pytest
from anthropic.types import ModelInfo
from openai.types import Model
from openai.types.shared import ChatModel

from protocol.translate.models import (
    CATALOGUE,
    list_anthropic,
    list_openai,
    retrieve_anthropic,
    retrieve_openai,
)
from tests.support.openai_requests import MODELS, model_table, refused


@pytest.mark.parametrize("name", ["claude-opus-4-7", "claude-2.1", "claude-anything@20270101", "claude-"])
def test_a_claude_name_stands_for_itself(name: str) -> None:
    assert model_table("claude-*=other").resolve(name) == name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-4o-mini", "haiku"),
        ("gpt-4-mini", "haiku"),
        ("gpt-4.1-nano-2025-04-14", "haiku"),
        ("gpt-5-mini", "haiku"),
        ("gpt-3.5-turbo", "haiku"),
        ("gpt-4o", "sonnet"),
        ("gpt-4o-2024-11-20", "sonnet"),
        ("gpt-4", "sonnet"),
        ("gpt-4.1", "sonnet"),
        ("chatgpt-4o-latest", "sonnet"),
        ("o1", "opus"),
        ("o1-pro", "opus"),
        ("o3", "opus"),
        ("o4-mini", "opus"),
        ("gpt-5", "opus"),
        ("gpt-5.5", "opus"),
        ("gpt-5.1-codex-max", "opus"),
        ("gpt-6-astra", "opus"),
        ("codex-mini-latest", "opus"),
    ],
)
def test_by_default_a_model_goes_to_the_tier_of_its_size(name: str, family: str) -> None:
    assert MODELS.resolve(name).startswith(f"claude-{family}-")


def test_every_chat_model_that_openais_sdk_names_is_mapped_to_a_listed_model() -> None:
    assert {MODELS.resolve(name) for name in get_args(ChatModel)} <= {release.id for release in CATALOGUE}


@pytest.mark.parametrize("name", ["gpt4o", "llama-3", "", "text-embedding-3-small", "O1", "gpt"])
def test_any_other_name_is_unknown(name: str) -> None:
    error = refused(MODELS.resolve, name)
    assert (error.status, error.kind, error.param, error.code) == (404, "not_found_error", "model", "model_not_found")


def test_a_fallback_takes_what_nothing_maps() -> None:
    assert model_table(fallback="claude-haiku-4-5").resolve("llama-3") == "claude-haiku-4-5"
    assert model_table(fallback="claude-haiku-4-5").resolve("gpt-4o") == MODELS.resolve("gpt-4o")


def test_an_exact_name_wins_over_a_wildcard_and_the_more_precise_wildcard_over_the_other() -> None:
    table = model_table("g*=all, gpt-4*=four,gpt-4o=exact\n*-mini=mini,gpt-*-mini=small,x.y*=dot")
    resolved = [table.resolve(name) for name in ("gpt-4o", "gpt-4.1", "grok", "other-mini", "gpt-4-mini", "x.y")]
    assert resolved == ["exact", "four", "all", "mini", "small", "dot"]
    assert refused(table.resolve, "x-y").status == 404


def test_at_a_tie_the_earlier_wildcard_wins() -> None:
    assert model_table("ab*=first,*ab=second").resolve("abab") == "first"


def test_an_empty_map_knows_claude_names_only() -> None:
    table = model_table(" \n")
    assert table.resolve("claude-opus-4-7") == "claude-opus-4-7"
    assert refused(table.resolve, "gpt-4o").status == 404


@pytest.mark.parametrize("text", ["gpt-4o", "=claude", "gpt-4o=", "a=b,a=c", "a b=c", "a=b c", "a=b*"])
def test_a_malformed_map_is_an_error_that_quotes_the_entry(text: str) -> None:
    with pytest.raises(ValueError, match=r"gpt-4o|claude|'a"):
        model_table(text)


def test_the_openai_list_holds_the_claude_models_and_the_exact_names_of_the_map() -> None:
    page = json.loads(list_openai(model_table("gpt-4o=claude-opus-4-7,o*=claude-opus-4-7")))
    assert page["object"] == "list"
    models = [Model.model_validate(entry, strict=True) for entry in page["data"]]
    assert [model.id for model in models] == [*(release.id for release in CATALOGUE), "gpt-4o"]
    assert models[-1].created == 1_776_297_600
    assert {model.owned_by for model in models} == {"anthropic"}


def test_a_list_is_the_same_at_any_time() -> None:
    assert list_openai(MODELS) == list_openai(model_table())


def test_a_model_is_retrieved_by_any_name_that_resolves() -> None:
    assert json.loads(retrieve_openai(MODELS, "claude-opus-4-7")) == {
        "id": "claude-opus-4-7",
        "object": "model",
        "created": 1_776_297_600,
        "owned_by": "anthropic",
    }
    assert json.loads(retrieve_openai(MODELS, "o3"))["id"] == "o3"
    assert json.loads(retrieve_openai(MODELS, "claude-next"))["created"] == 0
    assert refused(retrieve_openai, MODELS, "llama").status == 404


def test_the_anthropic_list_is_one_page_of_the_same_models() -> None:
    page = json.loads(list_anthropic(MODELS))
    assert (page["has_more"], page["first_id"]) == (False, CATALOGUE[0].id)
    assert page["last_id"] == page["data"][-1]["id"]
    assert [entry["id"] for entry in page["data"]] == [entry["id"] for entry in json.loads(list_openai(MODELS))["data"]]


def test_an_anthropic_client_reads_a_model_with_its_limit() -> None:
    model = ModelInfo.model_validate_json(retrieve_anthropic(MODELS, "gpt-4o-mini"))
    assert (model.id, model.display_name, model.max_tokens) == ("gpt-4o-mini", "gpt-4o-mini (Claude Haiku 4.5)", 64_000)
    assert model.created_at.isoformat() == "2025-10-15T00:00:00+00:00"
