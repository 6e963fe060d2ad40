"""Provider keys at rest: sealed under the token secret, in envelopes that are text.

Two envelopes are read, and either is written. Version 1 is the Rust program's: AES-256-GCM under the bare SHA-256 of
the secret, bound to nothing. Version 2 derives its key with HKDF (RFC 5869), for this purpose only, and is bound to the
record's name and base URL: moved to another record, or when the record is pointed elsewhere, it does not open.
"""

from base64 import b64decode, b64encode
from enum import Enum
from hashlib import sha256
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.errors import LocalError
from protocol.values import Secret

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
KEY_ID_BYTES: Final = 8

PURPOSE: Final = b"link-assistant-router provider key v2"


class Envelope(Enum):
    """The versions, by the prefix of their text; standard base64 follows."""

    V1 = "aes256gcm:"
    """nonce, ciphertext, tag"""
    V2 = "aes256gcm-v2:"
    """id of the sealing key, nonce, ciphertext, tag"""


class CannotOpen(Exception):
    """A stored key cannot be opened. The text names the record and says why; it holds nothing of key or envelope."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the stored key of provider {name!r} cannot be opened: {reason}")


class OtherSecret(CannotOpen):
    """It was sealed under another token secret: the secret was changed, or the record comes from another router."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "it was sealed under another TOKEN_SECRET; give the key again")


@final
class Sealer:
    """Seals and opens provider keys under one token secret.

    :param writes: the version of new envelopes; V1 is for going back to the Rust program, which knows no other.
    """

    def __init__(self, secret: Secret, writes: Envelope = Envelope.V2) -> None:
        # As for tokens: a secret from an environment that is not UTF-8 arrives with surrogate escapes.
        material = secret.reveal().encode("utf-8", "surrogateescape")
        if not material:
            raise LocalError("the token secret is empty")
        self.writes = writes
        self._first = AESGCM(sha256(material).digest())
        derived = HKDF(SHA256(), 32 + KEY_ID_BYTES, salt=None, info=PURPOSE).derive(material)
        self._second, self._key_id = AESGCM(derived[:32]), derived[32:]

    def seal(self, key: Secret, name: str, base_url: str, nonce: bytes) -> Secret:
        """The envelope of ``key`` for the record ``name`` at ``base_url``.

        :param nonce: 12 bytes that were never used before: two envelopes under one nonce give both keys away.
        """
        if len(nonce) != NONCE_BYTES:
            raise LocalError(f"a nonce has {NONCE_BYTES} bytes")
        text = key.reveal().encode()
        if self.writes is Envelope.V1:
            payload = nonce + self._first.encrypt(nonce, text, None)
        else:
            payload = self._key_id + nonce + self._second.encrypt(nonce, text, _bound_to(name, base_url))
        return Secret(self.writes.value + b64encode(payload).decode())

    def open(self, envelope: Secret, name: str, base_url: str) -> Secret:
        """The key in an envelope of either version.

        :raises OtherSecret: it was sealed under another secret (version 2 only: the first version cannot tell).
        :raises CannotOpen: it was changed, or moved here from another record, or is no envelope.
        """
        text = envelope.reveal()
        if text.startswith(Envelope.V1.value):
            payload = _payload(text, Envelope.V1, name)
            reason = "it was sealed under another TOKEN_SECRET, or changed; give the key again"
            return _opened(self._first, payload, None, name, reason)
        if text.startswith(Envelope.V2.value):
            payload = _payload(text, Envelope.V2, name)
            if payload[:KEY_ID_BYTES] != self._key_id:
                raise OtherSecret(name)
            reason = "it was changed, or sealed for another name or base_url; give the key again"
            return _opened(self._second, payload[KEY_ID_BYTES:], _bound_to(name, base_url), name, reason)
        raise CannotOpen(name, "it is in no format that this version knows")


def _bound_to(name: str, base_url: str) -> bytes:
    # Neither can hold a NUL, so no two records give the same bytes.
    return b"\0".join((name.encode(), base_url.encode()))


def _payload(text: str, version: Envelope, name: str) -> bytes:
    """What is in an envelope, if it is the one text that stands for it: base64 decoders overlook spare bits."""
    encoded = text.removeprefix(version.value)
    try:
        payload = b64decode(encoded, validate=True)
    except ValueError:
        payload = b""
    shortest = NONCE_BYTES + TAG_BYTES + (KEY_ID_BYTES if version is Envelope.V2 else 0)
    if len(payload) < shortest or b64encode(payload).decode() != encoded:
        raise CannotOpen(name, "it is damaged; give the key again")
    return payload


def _opened(cipher: AESGCM, payload: bytes, bound_to: bytes | None, name: str, reason: str) -> Secret:
    try:
        return Secret(cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], bound_to).decode())
    except InvalidTag:
        raise CannotOpen(name, reason) from None
    except UnicodeDecodeError:
        raise CannotOpen(name, "what was sealed is not text; give the key again") from None
