"""Ids of answers, and of tool calls, which each side makes by its own rules and must get back as it made them.

A server may call a call ``functions.read:0``, which Anthropic's API would not take, should the conversation ever go
there. Such an id travels to the client as ``id_`` and its base64url form, and comes back as it was.
"""

import base64
import binascii
import hashlib
import re
from typing import Final

LONGEST: Final = 40
"""What OpenAI takes in ``tool_calls[].id``."""

PREFIX: Final = "id_"
ANSWER_PREFIXES: Final = ("chatcmpl-", "resp_")

_VALID: Final = re.compile(r"[a-zA-Z0-9_-]+")
"""What a ``tool_use`` id may be (Messages API)."""


def message_id(answer_id: str | None, identity: str) -> str:
    """``msg_`` and what is the answer's own part of its id; the same in a stream."""
    own = answer_id or ""
    for prefix in ANSWER_PREFIXES:
        own = own.removeprefix(prefix)
    return "msg_" + (own or identity)


def call_id(server_id: str | None, message_id: str, position: int) -> str:
    """The id under which a client learns of the call at this place of an answer; one is made where the server gives
    none.
    """
    return client_id(server_id or f"call_{message_id.removeprefix('msg_')}_{position}")


def client_id(server_id: str) -> str:
    """The id under which a client learns of a server's call."""
    if _VALID.fullmatch(server_id) and _decoded(server_id) is None:
        return server_id
    return _encoded(server_id)


def server_id(client_id: str) -> str:
    """The id under which a server learns of a call: its own, where it made the call.

    One that is longer than 40 characters is replaced by its digest, the same in the call and in its result.
    """
    decoded = _decoded(client_id)
    own = client_id if decoded is None else decoded
    return own if len(own) <= LONGEST else "call_" + hashlib.sha256(own.encode()).hexdigest()[:32]


def _encoded(text: str) -> str:
    return PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> str | None:
    """What ``_encoded`` was given to make this, or None where it did not."""
    if not text.startswith(PREFIX):
        return None
    encoded = text.removeprefix(PREFIX)
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return decoded if _encoded(decoded) == text else None
