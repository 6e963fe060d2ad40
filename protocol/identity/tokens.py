"""The router's own tokens, ``la_sk_`` and a compact HS256 JWT (RFC 7519): issued, verified, and found in a request.

A token stands for itself: no store is asked. Revocation is somebody else's question, put with ``Claims.sub``.
"""

import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, final
from uuid import UUID

import msgspec
from jwt import InvalidAlgorithmError, InvalidSignatureError, PyJWS, PyJWTError
from jwt.algorithms import HMACAlgorithm

from protocol.errors import LocalError, Refusal
from protocol.values import Headers, Peer, PeerKind, Secret
from protocol.wire.headers import all_values, was_forwarded

PREFIX: Final = "la_sk_"
PREFIX_BYTES: Final = PREFIX.encode()
PROVIDER_PREFIX: Final = b"sk-ant-"

DEFAULT_TTL_HOURS: Final = 24
MAX_TTL_HOURS: Final = 10 * 365 * 24
"""Ten years: longer than any deployment keeps one secret, and far from every integer limit."""

MAX_TOKEN_BYTES: Final = 4096
"""No longer token is issued or looked at; one with a UUID and a short label has about 200 bytes."""

STRONG_SECRET_BYTES: Final = 32
"""The hash's own size, the least that RFC 7518 section 3.2 asks of an HS256 key."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: its id (a UUID), when it was issued and when it ends (epoch seconds), whose it is, and the
    one account it is bound to, if any.

    :param limited: its record has limits, so it is no good without the record.
    """

    sub: str
    iat: int
    exp: int
    label: str = ""
    account: str | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token, to be shown once, and what it says."""

    token: Secret
    claims: Claims


def issue(
    secret: Secret,
    *,
    ttl_hours: float = DEFAULT_TTL_HOURS,
    label: str = "",
    account: str | None = None,
    limited: bool = False,
    wall: float,
    entropy: Callable[[int], bytes],
) -> IssuedToken:
    """Sign a new token that ends ``ttl_hours`` after ``wall`` (epoch seconds), in whole seconds.

    :param limited: it will have limits, which only its record tells.
    :raises Refusal: 400 for a lifetime under one second or over ten years, and for a label or account that does not
        fit into a token.
    """
    claims = Claims(
        sub=str(UUID(bytes=entropy(16), version=4)),
        iat=int(wall),
        exp=int(wall) + _lifetime_seconds(ttl_hours),
        label=label,
        account=account,
        limited=limited,
    )
    token = PREFIX + _JWS.encode(_payload(claims), _key(secret), algorithm=ALGORITHM, sort_headers=False)
    if len(token) > MAX_TOKEN_BYTES:
        raise Refusal(400, "label and account are too long for a token", param="label")
    return IssuedToken(Secret(token), claims)


def is_token_id(text: str) -> bool:
    """Whether this could be the id of a token: a UUID as ``issue`` writes it."""
    return _TOKEN_ID.fullmatch(text) is not None


_TOKEN_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def weak_secret(secret: Secret) -> bool:
    """Whether the secret is shorter than the hash it keys. It works, but can be guessed from any one token."""
    return len(_key(secret)) < STRONG_SECRET_BYTES


@final
class TokenVerifier:
    """Verifies tokens under one secret, and remembers the signatures it has checked.

    :param cache_size: how many verified tokens to remember, the least recently used going first. Only tokens with a
        good signature get in, so strangers cannot push out anyone.
    """

    def __init__(self, secret: Secret, *, cache_size: int = 4096) -> None:
        self._key = _key(secret)
        self._cache_size = cache_size
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, presented: bytes, wall: float) -> Claims:
        """The claims of a token that is genuine and has not ended by ``wall`` (epoch seconds, no leeway).

        :raises Refusal: 401, with a message that says why and holds nothing of the token.
        """
        if not presented.startswith(PREFIX_BYTES):
            raise unauthorized(f"Token must start with '{PREFIX}' prefix")
        if len(presented) > MAX_TOKEN_BYTES:
            raise unauthorized(f"Invalid token: it is longer than {MAX_TOKEN_BYTES} bytes")
        # The digest, not the token, is the key: the cache holds nothing that could be presented.
        digest = sha256(presented).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._remember(digest, _claims(presented[len(PREFIX_BYTES) :], self._key))
        else:
            self._verified.move_to_end(digest)
        if claims.exp <= wall:
            raise unauthorized("Token has expired")
        return claims

    def _remember(self, digest: bytes, claims: Claims) -> Claims:
        self._verified[digest] = claims
        if len(self._verified) > self._cache_size:
            self._verified.popitem(last=False)
        return claims


def present_token(headers: Headers) -> bytes:
    """The router token a request carries: ``Authorization: Bearer`` first, then ``x-api-key``. Clients that hold two
    credentials send both fields, so the first value with our prefix wins, wherever it stands.

    :raises Refusal: 401 where there is none; what was presented instead is never part of the message.
    """
    presented = [*_bearer_values(headers), *_api_keys(headers)]
    for value in presented:
        if value.startswith(PREFIX_BYTES):
            return value
    if any(value.startswith(PROVIDER_PREFIX) for value in [*presented, *all_values(headers, b"authorization")]):
        raise unauthorized(
            f"A provider credential was sent where a router token ('{PREFIX}...') is needed; it was neither forwarded "
            "nor logged. Put the router token into ANTHROPIC_AUTH_TOKEN"
        )
    if presented:
        raise unauthorized(f"Token must start with '{PREFIX}' prefix")
    raise unauthorized("Missing Authorization Bearer token or x-api-key")


def admin_allowed(headers: Headers, peer: Peer, admin_key: Secret | None) -> None:
    """Return if this request may administer the router.

    With an admin key: it has to be presented as ``Authorization: Bearer``. Without: only a process on this machine may,
    and not a proxy that speaks for others, nor a web page (by a name that was pointed at this address, or by a form).

    :raises Refusal: 401 for everyone else.
    """
    if admin_key is not None:
        expected = _digest(admin_key.reveal().encode("utf-8", "surrogateescape"))
        # Digests have one length, so the time taken tells nothing about the key.
        if not any(hmac.compare_digest(expected, _digest(value)) for value in _bearer_values(headers)):
            raise unauthorized("missing or invalid admin Bearer key")
    elif not (peer.local and not was_forwarded(headers) and _addressed_locally(headers, peer)):
        raise unauthorized(
            "without an admin key this is open only to direct connections from the router's own machine: "
            "set an admin key and send it as Authorization: Bearer"
        )


def unauthorized(message: str) -> Refusal:
    """A 401 that names the scheme we take (RFC 9110 section 11.6.1)."""
    return Refusal(401, message, headers=[CHALLENGE])


CHALLENGE: Final = (b"www-authenticate", b"Bearer")


# --- signatures -------------------------------------------------------------------------------------------------------

ALGORITHM: Final = "HS256"


@final
class _AnyKeyHmac(HMACAlgorithm):
    """HS256 under any text an operator chose as the secret.

    The library warns of short keys and turns away those that look like PEM or JWK. The first is said once, at start
    (``weak_secret``). The second guards against a public key used as an HMAC key where one verifier takes both kinds;
    ours knows HS256 alone.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> None:
        return None


# The signature layer alone: the claims layer above it reads the clock.
_JWS: Final = PyJWS(algorithms=[])
_JWS.register_algorithm(ALGORITHM, _AnyKeyHmac(HMACAlgorithm.SHA256))


class _Payload(msgspec.Struct):
    sub: str
    iat: int
    exp: int
    label: object = ""
    account: str | None = None
    lim: bool = False
    aud: object = None
    nbf: object = None


_PAYLOAD: Final = msgspec.json.Decoder(_Payload)


def _claims(token: bytes, key: bytes) -> Claims:
    """Check the signature, then read the claims.

    :raises Refusal: 401 in words of our own; the library's may quote the token.
    """
    try:
        payload = _JWS.decode(token, key, algorithms=[ALGORITHM])
    except InvalidSignatureError:
        raise unauthorized("Invalid token: its signature is not this router's") from None
    except InvalidAlgorithmError:
        raise unauthorized(f"Invalid token: it is not signed with {ALGORITHM}") from None
    # Older releases let a header of a thousand brackets through to the interpreter's recursion limit.
    except (PyJWTError, RecursionError):
        raise unauthorized("Invalid token: it is not a JWT") from None
    try:
        read = _PAYLOAD.decode(payload)
    except msgspec.ValidationError as error:
        raise unauthorized(f"Invalid token: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unauthorized("Invalid token: its claims are not JSON") from None
    # Neither is ever issued here, and a limit that is not understood must not be passed over (RFC 7519 section 4.1).
    if read.aud is not None or read.nbf is not None:
        raise unauthorized("Invalid token: it is limited by 'aud' or 'nbf', which this router does not issue")
    label = read.label if isinstance(read.label, str) else ""
    return Claims(read.sub, read.iat, read.exp, label, read.account, read.lim)


def _payload(claims: Claims) -> bytes:
    fields: dict[str, str | int] = {"sub": claims.sub, "iat": claims.iat, "exp": claims.exp, "label": claims.label}
    if claims.account is not None:
        fields["account"] = claims.account
    if claims.limited:
        fields["lim"] = True
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        raise Refusal(400, "label and account must be Unicode text", param="label") from None


def _lifetime_seconds(ttl_hours: float) -> int:
    # Written so that NaN fails it too.
    if not 1 / 3600 <= ttl_hours <= MAX_TTL_HOURS:
        raise Refusal(400, f"ttl_hours must be between one second and {MAX_TTL_HOURS} hours", param="ttl_hours")
    return round(ttl_hours * 3600)


def _key(secret: Secret) -> bytes:
    # An environment variable that is not UTF-8 arrives with surrogate escapes; the key is its bytes.
    key = secret.reveal().encode("utf-8", "surrogateescape")
    if not key:
        raise LocalError("the token secret is empty")
    return key


# --- what a request presents ------------------------------------------------------------------------------------------


def _bearer_values(headers: Headers) -> list[bytes]:
    """The non-empty credentials of every ``Authorization`` field whose scheme is Bearer, in any letter case."""
    fields = [value.split(None, 1) for value in all_values(headers, b"authorization")]
    return [field[1].rstrip() for field in fields if len(field) == 2 and field[0].lower() == b"bearer"]


def _api_keys(headers: Headers) -> list[bytes]:
    return [value.strip() for value in all_values(headers, b"x-api-key") if value.strip()]


def _digest(value: bytes) -> bytes:
    return sha256(value).digest()


def _addressed_locally(headers: Headers, peer: Peer) -> bool:
    """Whether ``Host`` is an address or a name no resolver can point elsewhere (RFC 6761 section 6.3), and no page of
    another origin sent the request. Clients of a Unix socket may leave ``Host`` out; no browser is among them.
    """
    hosts = all_values(headers, b"host")
    if not hosts:
        return peer.kind is PeerKind.UNIX
    if len(hosts) > 1 or not _local_name(_host_name(hosts[0])):
        return False
    return all(origin.partition(b"://")[2] == hosts[0] for origin in all_values(headers, b"origin"))


def _host_name(host: bytes) -> str:
    """A ``Host`` value without port and brackets, in lower case; ``""`` if it is malformed."""
    text = host.decode("latin-1").lower()
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        name = text
    elif port and not (port.isascii() and port.isdigit()):
        return ""
    if name.startswith("[") != name.endswith("]"):
        return ""
    return name.strip("[]")


def _local_name(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
