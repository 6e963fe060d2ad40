"""The official Anthropic SDK in front of the translation onto OpenAI's APIs, with no network between: what it asks is
translated, what the server answers is translated back, and the SDK makes of it what it would make of Anthropic's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2

from protocol.errors import Refusal, anthropic_error
from protocol.translate.onto_openai.chat_request import carry_onto_chat
from protocol.translate.onto_openai.chat_response import message_from_completion
from protocol.translate.onto_openai.chat_stream import MessagesFromChat
from protocol.translate.onto_openai.errors import openai_refusal
from protocol.translate.onto_openai.responses_request import carry_onto_responses
from protocol.translate.onto_openai.responses_response import message_from_response
from protocol.translate.onto_openai.responses_stream import MessagesFromResponses
from protocol.translate.onto_openai.servers import CarriedRequest, ChatServer, ResponsesServer


class OpenAIServer:
    """What the SDK will be answered with, and what was asked of the server.

    :param answer: a whole completion or response, or an error.
    :param stream: the same as a stream.
    """

    def __init__(
        self, answer: dict[str, Any], stream: bytes = b"", *, status: int = 200, responses: bool = False
    ) -> None:
        self.asked: CarriedRequest | None = None
        self._answer = json.dumps(answer).encode()
        self._stream = stream
        self._status = status
        self._responses = responses

    @property
    def request(self) -> dict[str, Any]:
        assert self.asked is not None
        body: dict[str, Any] = json.loads(self.asked.body)
        return body

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        try:
            self.asked = self._carried(request.read())
            if self._status != 200:
                raise openai_refusal(self._status, self._answer)
            if self.asked.stream:
                relay = (MessagesFromResponses if self._responses else MessagesFromChat)(self.asked, identity="req_1")
                written = relay.feed(self._stream) + relay.finish()
                return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=written)
            read = message_from_response if self._responses else message_from_completion
            body = read(self._answer, self.asked, identity="req_1")
            return httpx2.Response(200, headers={"content-type": "application/json"}, content=body)
        except Refusal as refusal:
            return httpx2.Response(refusal.status, content=anthropic_error(refusal))

    def _carried(self, body: bytes) -> CarriedRequest:
        if self._responses:
            return carry_onto_responses(body, resolve=lambda model: "served", server=ResponsesServer())
        return carry_onto_chat(body, resolve=lambda model: "served", server=ChatServer())


@contextmanager
def anthropic_sdk(server: OpenAIServer) -> Iterator[anthropic.Anthropic]:
    with (
        httpx2.Client(transport=httpx2.MockTransport(server.answer)) as http_client,
        anthropic.Anthropic(
            api_key="la_sk_x", base_url="http://gateway", http_client=http_client, max_retries=0
        ) as client,
    ):
        yield client
