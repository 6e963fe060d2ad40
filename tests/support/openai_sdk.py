"""The official OpenAI SDK in front of the translation, with no network between: what it asks is translated, what the
upstream answers is translated back, and the SDK makes of it what it would make of OpenAI's own answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from protocol.errors import Refusal
from protocol.translate.call import TranslatedRequest, TranslationOptions
from protocol.translate.chat_request import translate_chat_request
from protocol.translate.chat_response import translate_chat_response
from protocol.translate.chat_stream import ChatStream
from protocol.translate.responses_request import translate_responses_request
from protocol.translate.responses_response import translate_responses_response
from protocol.translate.responses_stream import ResponsesStream
from tests.support.anthropic_streams import tell
from tests.support.openai_requests import model_table

CREATED = 1_790_000_000
MODEL = "claude-opus-5-5"
CUT = Refusal(502, "the upstream connection broke")


class Upstream:
    """What the SDK will be answered with, and what it asked."""

    def __init__(self, message: dict[str, Any], *, cut_at: int | None = None) -> None:
        self.message = message
        self.asked: TranslatedRequest | None = None
        self._cut_at = cut_at

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        chat = request.url.path.endswith("/chat/completions")
        translate = translate_chat_request if chat else translate_responses_request
        asked = translate(request.read(), models=model_table(), options=TranslationOptions())
        self.asked = asked
        if asked.stream:
            stream = (ChatStream if chat else ResponsesStream)(asked, created=CREATED)
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self._relayed(stream))
        whole = (translate_chat_response if chat else translate_responses_response)(
            json.dumps(self.message).encode(), asked, created=CREATED
        )
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=whole)

    def _relayed(self, stream: ChatStream | ResponsesStream) -> bytes:
        written = stream.feed(tell(self.message)[: self._cut_at])
        return written + (stream.finish() if self._cut_at is None else stream.abort(CUT))


@contextmanager
def openai_sdk(upstream: Upstream) -> Iterator[openai.OpenAI]:
    transport = httpx2.MockTransport(upstream.answer)
    with (
        httpx2.Client(transport=transport) as http_client,
        openai.OpenAI(
            api_key="la_sk_x", base_url="http://gateway/v1", http_client=http_client, max_retries=0
        ) as client,
    ):
        yield client
