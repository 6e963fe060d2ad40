"""Which account a conversation, a file or a batch belongs with.

A provider's prompt cache and what it keeps for a client are an account's own: a conversation that changes accounts pays
for its whole prefix again, and a file is known to no other. So requests that belong together get the same key, and the
key remembers an account. It is a wish: the pool grants it only while that account is healthy and has room.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeVar, final

import msgspec

from protocol.errors import LocalError
from protocol.values import Headers
from protocol.wire.headers import first

DIGEST_BYTES: Final = 16

SESSION_HEADERS: Final = (
    b"x-claude-code-session-id",
    b"x-codex-session-id",
    b"x-session-id",
    b"session-id",
    b"x-session-affinity",
    b"thread-id",
)
"""Where coding agents name their session, in the order in which they are believed."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What a request says that matters for the choice of an account.

    :param model: the model as the client calls it.
    :param affinity: stands for the conversation; a digest, so it tells nothing.
    :param previous_message: the id of the message to go on from, where the provider keeps the thread.
    :param threaded: the provider is asked to keep the conversation, so that a later request may go on from the answer.
    :param file: the id of an uploaded file that the request uses.
    """

    model: str | None = None
    affinity: bytes | None = None
    previous_message: str | None = None
    threaded: bool = False
    file: str | None = None


def read_hints(headers: Headers, body: bytes | None, *, files: bool = False) -> Hints:
    """The hints of a request; any bytes will do, and what cannot be read gives no hint. The body is read once, without
    building what is in it: a millisecond for each megabyte, twice that for a client that names no session.

    :param files: look for an uploaded file, too; of use only while ``AffinityMap.holds_resources``.
    """
    request = _decoded(body, _REQUEST) or _NOTHING
    session = _session_header(headers) or _body_session(request)
    return Hints(
        model=_text(request.model),
        affinity=_digest(session.encode("utf-8", "replace")) if session else _prefix_digest(request),
        previous_message=_previous_message(request),
        threaded=bool(_fields(request.thread)),
        file=file_in(body) if files and body else None,
    )


def file_in(body: bytes) -> str | None:
    """The id of the first uploaded file in a request, found by the name of its field wherever that stands: within a
    JSON string the quotes would be escaped. A client may have written it for another purpose, so it is but a hint.
    """
    match = _FILE_ID.search(body)
    return match[1].decode("ascii") if match else None


@final
class AffinityMap:
    """Remembers accounts: of conversations and messages for ``ttl`` seconds after the last use, of files and batches
    as long as there is room. Each of the two holds at most ``capacity`` entries; the least recently used go first.
    """

    def __init__(self, ttl: float, capacity: int) -> None:
        if capacity < 1:
            raise LocalError("an affinity map needs room for an entry")
        self._ttl = ttl
        self._capacity = capacity
        self._conversations: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._resources: OrderedDict[bytes, str] = OrderedDict()

    def preferred(self, hints: Hints, now: float) -> str | None:
        """The account that a request should go to. One that holds what the request refers to comes first."""
        if hints.file is not None and (holder := self.resource(hints.file)) is not None:
            return holder
        if hints.previous_message is not None:
            holder = self.account(_message_key(hints.previous_message), now)
            if holder is not None:
                return holder
        return None if hints.affinity is None else self.account(hints.affinity, now)

    def account(self, key: bytes, now: float) -> str | None:
        """The account remembered for a conversation."""
        remembered = self._conversations.get(key)
        if remembered is None:
            return None
        account, expires_at = remembered
        if expires_at <= now:
            del self._conversations[key]
            return None
        return account

    def remember(self, key: bytes, account: str, now: float) -> None:
        """Bind a conversation to an account from now on: at each choice, so that requests sent side by side agree."""
        self._conversations[key] = (account, now + self._ttl)
        self._conversations.move_to_end(key)
        if len(self._conversations) > self._capacity:
            self._conversations.popitem(last=False)

    def remember_message(self, message: str, account: str, now: float) -> None:
        """An account answered with this message, so a thread that goes on from it has to go there."""
        self.remember(_message_key(message), account, now)

    @property
    def holds_resources(self) -> bool:
        """A file or a batch is remembered."""
        return bool(self._resources)

    def resource(self, resource: str) -> str | None:
        """The account that made a file or a batch."""
        return self._resources.get(_resource_key(resource))

    def remember_resource(self, resource: str, account: str) -> None:
        """An account made this file or batch."""
        key = _resource_key(resource)
        self._resources[key] = account
        self._resources.move_to_end(key)
        if len(self._resources) > self._capacity:
            self._resources.popitem(last=False)

    def forget_resource(self, resource: str, account: str) -> None:
        """An account does not have this file or batch, or not any more."""
        key = _resource_key(resource)
        if self._resources.get(key) == account:
            del self._resources[key]

    def forget(self, account: str) -> None:
        """Drop all that an account was remembered for; it is no more."""
        for key in [key for key, (holder, _) in self._conversations.items() if holder == account]:
            del self._conversations[key]
        for key in [key for key, holder in self._resources.items() if holder == account]:
            del self._resources[key]

    def __len__(self) -> int:
        return len(self._conversations) + len(self._resources)


# --- sessions ---------------------------------------------------------------------------------------------------------


class _Request(msgspec.Struct):
    """Raw where a value may be of any size or type, so that nothing of it is built before it is needed."""

    model: msgspec.Raw = msgspec.Raw()
    thread: msgspec.Raw = msgspec.Raw()
    previous_message_id: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    session_id: msgspec.Raw = msgspec.Raw()
    conversation_id: msgspec.Raw = msgspec.Raw()
    prompt_cache_key: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


_FieldValues = dict[str, msgspec.Raw]
_REQUEST: Final = msgspec.json.Decoder(_Request)
_FIELDS: Final = msgspec.json.Decoder(_FieldValues)
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_NOTHING: Final = _Request()

MAX_NAME_CHARACTERS: Final = 512
"""No model, message or session has a longer name."""

_SESSION_IN_USER: Final = re.compile(r"_session_([0-9A-Za-z-]{8,64})")
_FILE_ID: Final = re.compile(rb'"file_id"[ \t\r\n]*:[ \t\r\n]*"(file_[0-9A-Za-z]{1,128})"')


def _session_header(headers: Headers) -> str | None:
    for name in SESSION_HEADERS:
        value = (first(headers, name) or b"").strip()
        if value:
            return value.decode("latin-1")
    return None


def _body_session(request: _Request) -> str | None:
    """The session that the body names. A thread's messages have no session of their own, so the message gone on from
    stands for it.
    """
    if message := _previous_message(request):
        return f"message:{message}"
    metadata = _fields(request.metadata)
    if session := _session_of_user(_text(metadata.get("user_id"))):
        return session
    for value in (
        metadata.get("session_id"),
        metadata.get("conversation_id"),
        request.session_id,
        request.conversation_id,
        request.prompt_cache_key,
    ):
        if session := _text(value):
            return session
    return None


def _previous_message(request: _Request) -> str | None:
    return _text(_fields(request.thread).get("previous_message_id")) or _text(request.previous_message_id)


def _session_of_user(user: str | None) -> str | None:
    """Claude Code puts its session into the user's id: as a field of JSON, formerly after ``_session_``. A user
    alone is no conversation: many clients send the same one with everything.
    """
    if user is None:
        return None
    if user.startswith("{"):
        return _text(_fields(user).get("session_id"))
    match = _SESSION_IN_USER.search(user)
    return match[1] if match else None


# --- the stable prefix ------------------------------------------------------------------------------------------------

MAX_PIECE_BYTES: Final = 4 << 10
"""How much of a text or of the tools counts; conversations that agree in it, and in the length, are taken for one."""

MAX_PIECES: Final = 64
MAX_OPENING_ITEMS: Final = 8

BILLING_LINE: Final = b'"x-anthropic-billing-header'
"""Begins a block of Claude Code's system prompt that changes with every request."""


def _prefix_digest(request: _Request) -> bytes | None:
    """Of what all requests of a conversation begin with: system prompt, tools, and all up to the first user message.
    Cache markers do not count, since clients move them along. None without a message.
    """
    opening = _opening(request.messages) or _opening(request.input)
    if not opening:
        return None
    tools = memoryview(request.tools)
    pieces = [*_pieces(request.system), *_pieces(request.instructions), tools, *opening]
    digest = blake2b(digest_size=DIGEST_BYTES, person=b"stable prefix")
    for piece in pieces:
        digest.update(b"%d:" % len(piece))
        digest.update(piece[:MAX_PIECE_BYTES])
    return digest.digest()


def _opening(messages: msgspec.Raw) -> list[memoryview]:
    """The pieces of the first user message and of all before it. OpenAI's ``input`` may be just the text of one."""
    items = _decoded(messages, _ITEMS)
    if items is None:
        return _pieces(messages)
    pieces: list[memoryview] = []
    for item in items[:MAX_OPENING_ITEMS]:
        message = _fields(item)
        pieces += _pieces(message.get("content"))
        if _text(message.get("role")) == "user":
            break
    return pieces


def _pieces(content: msgspec.Raw | None) -> list[memoryview]:
    """The values of a text, or of a list of blocks, as they are spelled in JSON; a text block is its text, so
    that it equals the same text without a block.
    """
    if content is None or not (whole := memoryview(content)):
        return []
    pieces: list[memoryview] = []
    for block in _decoded(content, _ITEMS) or []:
        fields = _fields(block)
        text = fields.get("text")
        values = [text] if text is not None else [value for name, value in fields.items() if name != "cache_control"]
        pieces += map(memoryview, values)
        if len(pieces) >= MAX_PIECES:
            break
    if not pieces and whole[0] == ord('"'):
        pieces = [whole]
    return [piece for piece in pieces[:MAX_PIECES] if piece[: len(BILLING_LINE)].tobytes() != BILLING_LINE]


# --- reading ----------------------------------------------------------------------------------------------------------

_Decodable = TypeVar("_Decodable")


def _decoded(data: bytes | str | msgspec.Raw | None, decoder: msgspec.json.Decoder[_Decodable]) -> _Decodable | None:
    """The value of this type, or None for anything else: wrong JSON is for the provider to refuse."""
    if data is None:
        return None
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _fields(data: str | msgspec.Raw | None) -> _FieldValues:
    return _decoded(data, _FIELDS) or {}


def _text(data: msgspec.Raw | None) -> str | None:
    """A name that is not empty and not absurdly long."""
    text = _decoded(data, _TEXT)
    return text if text and len(text) <= MAX_NAME_CHARACTERS else None


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=DIGEST_BYTES).digest()


def _message_key(message: str) -> bytes:
    return _digest(f"message:{message}".encode("utf-8", "replace"))


def _resource_key(resource: str) -> bytes:
    return _digest(resource.encode("utf-8", "replace"))
