"""Messages through the current SDK: what the provider says is what the client gets."""

import anthropic
import pytest
from anthropic.types import MessageParam, ToolResultBlockParam, ToolUseBlock

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from tests.live.asks import ASKS, CLOCK, WEATHER, ask


@pytest.mark.parametrize("case", ASKS)
def test_a_message_is_the_one_the_provider_sent(
    client: anthropic.Anthropic, direct: anthropic.Anthropic, case: str
) -> None:
    assert client.messages.create(**ASKS[case]).to_dict() == direct.messages.create(**ASKS[case]).to_dict()


@pytest.mark.parametrize("case", ASKS)
def test_a_stream_has_the_events_that_the_provider_sent(
    client: anthropic.Anthropic, direct: anthropic.Anthropic, case: str
) -> None:
    def events(asked: anthropic.Anthropic) -> list[object]:
        with asked.messages.create(**ASKS[case], stream=True) as stream:
            return [event.to_dict() for event in stream]

    relayed = events(client)
    assert relayed == events(direct)
    assert len(relayed) > 3


@pytest.mark.parametrize("case", ASKS)
def test_a_streamed_message_is_the_whole_one(client: anthropic.Anthropic, case: str) -> None:
    """Directives and content are the same, ids differ: they are made of the request's bytes."""
    with client.messages.stream(**ASKS[case]) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    whole = client.messages.create(**ASKS[case])
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert [block.to_dict() | {"id": ""} for block in streamed.content] == [
        block.to_dict() | {"id": ""} for block in whole.content
    ]


def test_text_arrives_piece_by_piece(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ask("/size 50")) as stream:
        pieces = list(stream.text_stream)
        assert len(pieces) == 50
        assert stream.get_final_text() == "".join(pieces)


def test_an_event_arrives_while_the_provider_still_thinks_about_the_next(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    with client.messages.create(**ask("/stall 3"), stream=True) as stream:
        assert [next(stream).type for _ in range(2)] == ["message_start", "content_block_start"]
        assert upstream.requests[-1].ending is None


def test_signatures_of_thinking_come_through_and_back(upstream: PracticeUpstream, client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ask("go\n/think redacted\n/tools", tools=[CLOCK])) as stream:
        first = stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "redacted_thinking", "tool_use"]
    turns: list[MessageParam] = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_x", "content": "noon"}]},
    ]
    client.messages.create(**ask(messages=turns))
    assert first.content[0].type == "thinking"
    assert first.content[0].signature.encode() in upstream.requests[-1].body


def test_parallel_tools_go_round(client: anthropic.Anthropic) -> None:
    tools = [WEATHER, CLOCK]
    first = client.messages.create(**ask("go\n/tools", tools=tools))
    calls = [block for block in first.content if isinstance(block, ToolUseBlock)]
    assert (first.stop_reason, [call.name for call in calls]) == ("tool_use", ["weather", "clock"])
    results: list[ToolResultBlockParam] = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} says {len(call.input)}"}
        for call in calls
    ]
    turns: list[MessageParam] = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    last = client.messages.create(**ask(messages=turns, tools=tools))
    assert last.content[0].type == "text"
    assert "weather says 2" in last.content[0].text
    assert "clock says 0" in last.content[0].text


def test_the_tool_runner_comes_to_a_text(client: anthropic.Anthropic) -> None:
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: where.
        """
        return f"rain in {city}"

    runner = client.beta.messages.tool_runner(**ask("go\n/tools", tools=[weather]))
    final = runner.until_done()
    assert "rain in practice" in "".join(block.text for block in final.content if block.type == "text")


def test_tokens_are_counted_as_for_a_message(client: anthropic.Anthropic, direct: anthropic.Anthropic) -> None:
    asked = {name: value for name, value in ask(tools=[WEATHER]).items() if name != "max_tokens"}
    counted = client.messages.count_tokens(**asked)
    assert counted.to_dict() == direct.messages.count_tokens(**asked).to_dict()
    assert counted.input_tokens > 50


def test_beta_flags_reach_the_provider_beside_the_routers_own(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    betas = ["context-management-2025-06-27", "effort-2025-11-24"]
    assert client.beta.messages.create(**ask(), betas=betas).content
    assert client.beta.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}]).input_tokens
    message, count = upstream.requests[-2:]
    assert message.header("anthropic-beta") == [",".join([*betas, "oauth-2025-04-20"])]
    assert count.header("anthropic-beta")[0].count("oauth-2025-04-20") == 1


def test_the_provider_sees_the_sdk_and_the_credential_but_not_the_token(
    upstream: PracticeUpstream, client: anthropic.Anthropic
) -> None:
    client.messages.create(**ask())
    seen = upstream.requests[-1]
    assert seen.header("authorization") == [f"Bearer {PRACTICE_TOKEN}"]
    assert seen.header("anthropic-version") == ["2026-10-21"]
    assert seen.header("host") == [upstream.origin.removeprefix("http://")]
    assert seen.header("x-stainless-lang") == ["python"]
    assert seen.header("user-agent")[0].startswith("Anthropic/Python ")
    assert b"la_sk_" not in repr(seen).encode()
