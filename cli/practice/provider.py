"""Anthropic's HTTP surface over the practice model: a request in, an answer out, no socket in sight."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final
from urllib.parse import parse_qsl, unquote

from msgspec import Raw

from cli.practice.answers import Answer, Context, error_body, ordered_error
from cli.practice.directives import Directives, Wishes, directives, in_header
from cli.practice.guards import credential, listed, values
from cli.practice.oauth import TOKEN_PATH, Logins
from cli.practice.prompts import MessagesRequest, Prompt, heard, parse
from cli.practice.replies import Reply, compose, identifier, message, server_sent_event, stream
from cli.practice.resources import MODELS, Batches, Files, model, page
from protocol.errors import Refusal
from protocol.values import Headers, RequestHead

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
NO_WISHES: Final = Directives()


class Provider:
    """Answers requests as the provider would.

    :param origin: what the absolute ``results_url`` of a batch starts with.
    :param accepted: the credentials that are good; None takes any well-formed one.
    :param orders: standing directives by credential, in the header's notation; read anew for each request.
    :param logins: whose access tokens are good besides, while they live.
    """

    def __init__(
        self, origin: str, accepted: Collection[str] | None, orders: Mapping[str, str], logins: Logins | None = None
    ) -> None:
        self._accepted = accepted
        self._orders = orders
        self._logins = logins or Logins()
        self._batches = Batches(origin, self._batch_reply)
        self._files = Files()
        self._requests = 0

    def answer(self, head: RequestHead, body: bytes, wall: float) -> Answer:
        """The answer to a complete request; ``wall`` is epoch seconds."""
        context = self._context(head, wall)
        if head.method in {b"HEAD", b"GET"} and head.path == b"/api/hello":
            return context.whole(b"", b"text/plain", NO_WISHES)
        if head.method == b"POST" and head.path == TOKEN_PATH:
            return self._logins.answer(body, context)
        try:
            token = credential(head, self._logins.among(self._accepted))
            self._logins.check(token, wall)
            wishes = self._standing_wishes(token) | _header_wishes(head.headers)
            wanted = directives(wishes)
            if wanted.error is not None:
                return context.error(ordered_error(wanted, wall), wanted)
            if head.method == b"POST" and head.path == b"/v1/messages":
                return self._messages(body, wishes, context)
            return self._collections(head, body, wanted, context)
        except Refusal as refusal:
            return context.error(refusal, NO_WISHES)

    def refuse(self, head: RequestHead, refusal: Refusal, wall: float) -> Answer:
        """An error that shows before the request is complete."""
        return self._context(head, wall).error(refusal, NO_WISHES)

    def _context(self, head: RequestHead, wall: float) -> Context:
        self._requests += 1
        return Context(
            request_id=identifier("req", str(self._requests).encode()),
            wall=wall,
            oauth=not any(b"sk-ant-api" in value for value in _credentials(head.headers)),
            accepts_gzip=b"gzip" in listed(head.headers, b"accept-encoding"),
        )

    def _standing_wishes(self, token: str) -> Wishes:
        return in_header(self._orders.get(token, ""))

    def _messages(self, body: bytes, wishes: Wishes, context: Context) -> Answer:
        request = parse(body, MessagesRequest)
        said = heard(request)
        wanted = directives(wishes | said.wishes)
        if wanted.error is not None:
            return context.error(ordered_error(wanted, context.wall), wanted)
        reply = compose(request, said, wanted, body)
        if not request.stream:
            return context.json(message(reply), wanted)
        writes = _with_error(stream(reply), wanted, context) if wanted.error_event is not None else stream(reply)
        return context.stream(writes, EVENT_STREAM, wanted)

    def _batch_reply(self, params: Raw) -> Reply:
        request = parse(params, MessagesRequest)
        said = heard(request)
        wanted = directives(said.wishes)
        if wanted.error is not None:
            raise ordered_error(wanted, 0.0)  # a batch shows the error's body, never its headers
        return compose(request, said, wanted, bytes(params))

    def _collections(self, head: RequestHead, body: bytes, wanted: Directives, context: Context) -> Answer:
        """Everything but messages themselves.

        :raises Refusal: 404 for any method and path that is not known, and what the resources raise.
        """
        query = dict(parse_qsl(head.target.partition(b"?")[2].decode("latin-1")))
        segments = [unquote(segment) for segment in head.path.decode("latin-1").split("/")[1:]]
        wall = context.wall
        match [head.method.decode("latin-1"), *segments]:
            case ["POST", "v1", "messages", "count_tokens"]:
                return context.json({"input_tokens": parse(body, Prompt).tokens}, wanted)
            case ["GET", "v1", "models"]:
                return context.json(page([model(name) for name in MODELS], query), wanted)
            case ["GET", "v1", "models", name]:
                return context.json(model(name), wanted)
            case ["POST", "v1", "messages", "batches"]:
                return context.json(self._batches.create(body, wall), wanted)
            case ["GET", "v1", "messages", "batches"]:
                return context.json(self._batches.list(query), wanted)
            case ["GET", "v1", "messages", "batches", name]:
                return context.json(self._batches.retrieve(name, wall), wanted)
            case ["DELETE", "v1", "messages", "batches", name]:
                return context.json(self._batches.delete(name), wanted)
            case ["POST", "v1", "messages", "batches", name, "cancel"]:
                return context.json(self._batches.cancel(name, wall), wanted)
            case ["GET", "v1", "messages", "batches", name, "results"]:
                return context.stream(self._batches.results(name), b"application/x-jsonl", wanted)
            case ["POST", "v1", "files"]:
                content_type = b"".join(values(head.headers, b"content-type"))
                return context.json(self._files.create(content_type, body, wall), wanted)
            case ["GET", "v1", "files"]:
                return context.json(self._files.list(query), wanted)
            case ["GET", "v1", "files", name]:
                return context.json(self._files.find(name).description(), wanted)
            case ["GET", "v1", "files", name, "content"]:
                stored = self._files.find(name)
                return context.whole(stored.content, stored.mime_type.encode("latin-1", "replace"), wanted)
            case ["DELETE", "v1", "files", name]:
                return context.json(self._files.delete(name), wanted)
            case _:
                raise Refusal(404, f"Not found: {head.method.decode('latin-1')} {head.path.decode('latin-1')}")


def wants_early_answer(head: RequestHead) -> bool:
    """The request asks to be answered before its body is read."""
    return "early" in _header_wishes(head.headers)


def _header_wishes(headers: Headers) -> Wishes:
    wishes: Wishes = {}
    for value in values(headers, b"x-practice"):
        wishes |= in_header(value.decode("latin-1"))
    return wishes


def _credentials(headers: Headers) -> list[bytes]:
    return values(headers, b"authorization") + values(headers, b"x-api-key")


def _with_error(writes: Iterable[bytes], wanted: Directives, context: Context) -> Iterator[bytes]:
    """The stream's beginning, then an error event, after which the provider sends nothing more."""
    refusal = Refusal(529, wanted.message or "Overloaded", wanted.error_event, code=wanted.code)
    return chain(islice(writes, wanted.after), [server_sent_event(error_body(refusal, context.request_id))])
