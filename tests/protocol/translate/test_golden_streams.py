"""Realistic answers, as the API streams them, beside what the client that asked gets; the requests are golden, too."""

from pathlib import Path

import pytest

from protocol.translate.call import Dialect, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.chat_stream import ChatStream
from protocol.translate.message_stream import MessageStream
from protocol.translate.responses_request import translate_responses_request
from protocol.translate.responses_stream import ResponsesStream
from tests.support.grammar import End, check_anthropic, check_chat, check_responses
from tests.support.openai_requests import MODELS

CREATED = 1_795_000_000
GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = sorted(path.name.removesuffix(".upstream.sse") for path in (GOLDEN / "streams").glob("*.upstream.sse"))


def translator(name: str) -> MessageStream:
    """The one that answers the golden request of this name."""
    body = (GOLDEN / "requests" / f"{name}.request.json").read_bytes()
    translate = translate_chat_request if name.startswith("chat") else translate_responses_request
    request = translate(body, models=MODELS, options=TranslationOptions())
    stream = ChatStream if request.dialect is Dialect.CHAT else ResponsesStream
    return stream(request, created=CREATED)


def upstream(name: str) -> bytes:
    return (GOLDEN / "streams" / f"{name}.upstream.sse").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_realistic_stream_becomes_the_reviewed_one(name: str) -> None:
    relay = translator(name)
    written = relay.feed(upstream(name)) + relay.finish()
    assert written.decode() == (GOLDEN / "streams" / f"{name}.client.sse").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_of_a_golden_stream_are_legal(name: str) -> None:
    assert check_anthropic(upstream(name)) is End.COMPLETE
    client = (GOLDEN / "streams" / f"{name}.client.sse").read_bytes()
    if name.startswith("chat"):
        assert check_chat(client, include_usage=b'"usage":' in client) is End.COMPLETE
    else:
        assert check_responses(client) is End.COMPLETE
