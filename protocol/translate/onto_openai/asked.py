"""What a Messages request asks, whichever of OpenAI's APIs will be asked for it."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from protocol.translate.capabilities import EFFORTS, Capabilities
from protocol.translate.fields import Block, Fields, decode_request, refusal
from protocol.translate.onto_openai.conversation import Conversation, Recall, Turn
from protocol.translate.onto_openai.parameters import OUTPUT_CONFIG, sift
from protocol.translate.onto_openai.servers import CarriedRequest, Server
from protocol.translate.onto_openai.thinking import asks_to_think, nearest_effort, wanted_effort
from protocol.translate.onto_openai.tools import Choice, Toolset
from protocol.translate.parameters import Parameter
from protocol.translate.scope import Scope

LONGEST_USER: Final = 64
"""The longest ``user`` that is sent as it is, in characters."""


class Asked(msgspec.Struct, kw_only=True):
    """A request, read but not yet written; everything in it can be carried."""

    request: Fields
    scope: Scope
    requested_model: str
    upstream_model: str
    system: list[Block]
    turns: list[Turn]
    tools: list[Block]
    shortened: Mapping[str, str]
    choice: Choice
    max_tokens: int
    effort: str | None
    """In the server's own word."""

    output_format: Fields | None
    temperature: float | None
    top_p: float | None
    user: str | None
    stream: bool
    shows_thinking: bool

    def carried(self, body: Mapping[str, object], stop_sequences: tuple[str, ...] = ()) -> CarriedRequest:
        """The finished translation; what is None in the body is not said."""
        return CarriedRequest(
            body=msgspec.json.encode({name: value for name, value in body.items() if value is not None}),
            requested_model=self.requested_model,
            upstream_model=self.upstream_model,
            stream=self.stream,
            tools=self.shortened,
            stop_sequences=stop_sequences,
            shows_thinking=self.shows_thinking,
            omitted=tuple(self.scope.omitted),
        )


def read_request(
    body: bytes,
    *,
    resolve: Callable[[str], str],
    server: Server,
    system_turns: bool,
    recall: Recall,
    table: Mapping[str, Parameter],
    drop_unsupported: bool,
) -> Asked:
    """Read a Messages request.

    :param resolve: the server's name for a requested model; may raise a Refusal with status 404.
    :param system_turns: instructions may stand in the middle.
    :param table: what becomes of the parameters.
    :param drop_unsupported: leave out what cannot be carried, instead of refusing the request.
    :raises Refusal: 400 naming what is malformed or cannot be carried.
    """
    request = decode_request(body)
    # The reader of conversations asks of a server what it asks of a Claude model in the other direction.
    abilities = Capabilities(output_tokens=server.output_tokens or 0, system_turns=system_turns)
    scope = Scope(abilities, drop_unsupported=drop_unsupported)
    model = request.text("model")
    upstream_model = resolve(model)
    sift(request, table, scope)
    toolset = Toolset(scope)
    for tool in request.sections("tools"):
        toolset.declare(tool)
    conversation = Conversation(toolset, recall, scope)
    conversation.read(request)
    thinking = request.optional_section("thinking")
    config = request.optional_section("output_config") or Fields({}, "output_config")
    sift(config, OUTPUT_CONFIG, scope)
    system, turns = conversation.turns()
    return Asked(
        request=request,
        scope=scope,
        requested_model=model,
        upstream_model=upstream_model,
        system=system,
        turns=turns,
        tools=toolset.offered,
        shortened=toolset.shortened,
        choice=toolset.choice(request),
        max_tokens=_token_limit(request, server),
        effort=_effort(thinking, conversation.effort, config, server, scope),
        output_format=config.optional_section("format") or request.optional_section("output_format"),
        temperature=request.number("temperature", 0, 2),
        top_p=request.number("top_p", 0, 1),
        user=_user(request),
        stream=request.flag("stream") is True,
        shows_thinking=asks_to_think(thinking),
    )


def _token_limit(request: Fields, server: Server) -> int:
    limit = request.integer("max_tokens")
    if limit is None:
        raise refusal("max_tokens", "this field is required", "missing_required_parameter")
    if limit < 1:
        raise refusal("max_tokens", "expected at least 1")
    return limit if server.output_tokens is None else min(limit, server.output_tokens)


def _effort(
    thinking: Fields | None, turn_effort: str | None, config: Fields, server: Server, scope: Scope
) -> str | None:
    """The turn's own effort before the request's; a hint that is noted where the server takes none."""
    effort = turn_effort or config.optional_text("effort")
    if effort is not None and effort not in EFFORTS:
        raise refusal(config.at("effort"), f"expected one of {', '.join(EFFORTS)}; got {effort!r}")
    wanted = wanted_effort(thinking, effort)
    if wanted is None:
        return None
    nearest = nearest_effort(wanted, server.efforts)
    if nearest is None:
        scope.omit(config.at("effort") if effort else "thinking")
    return nearest


def _user(request: Fields) -> str | None:
    """Who asks, in a form that tells users apart; what tells more about them is hashed."""
    metadata = request.optional_section("metadata")
    user = None if metadata is None else metadata.optional_text("user_id")
    if user is None or len(user) <= LONGEST_USER:
        return user or None
    return hashlib.sha256(user.encode()).hexdigest()
