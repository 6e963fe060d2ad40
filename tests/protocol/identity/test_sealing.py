import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.errors import LocalError
from protocol.identity.sealing import PURPOSE, CannotOpen, Envelope, OtherSecret, Sealer
from protocol.values import Secret

SECRET = Secret("secret")
KEY = Secret("sk-test")
NONCE = bytes(range(12))
PLACE = ("litellm", "http://litellm:4000/v1")

V1_VECTOR = Secret("aes256gcm:AAECAwQFBgcICQoL2r2J/wywEXY96fQIUEk6u5pOO4wAGBk=")
"""Made by the Rust program: token secret ``secret``, nonce 00..0b, key ``sk-test``."""

FIRST = Sealer(SECRET, Envelope.V1)
SECOND = Sealer(SECRET)
V2_VECTOR = SECOND.seal(KEY, *PLACE, NONCE)


def flipped(envelope: Secret) -> list[Secret]:
    """The envelope with each bit of what it holds turned over, one at a time."""
    prefix, _, encoded = envelope.reveal().partition(":")
    payload = b64decode(encoded)
    changed = []
    for at in range(len(payload) * 8):
        other = bytearray(payload)
        other[at // 8] ^= 1 << at % 8
        changed.append(Secret(f"{prefix}:{b64encode(other).decode()}"))
    return changed


def respelled(envelope: Secret) -> list[Secret]:
    """The envelope with each character of its text replaced by a few others, one at a time."""
    text = envelope.reveal()
    return [
        Secret(text[:at] + other + text[at + 1 :])
        for at in range(len(text))
        for other in "AB/=: \n"
        if other != text[at]
    ]


def test_the_first_version_is_that_of_the_rust_program() -> None:
    assert FIRST.seal(KEY, *PLACE, NONCE) == V1_VECTOR
    assert FIRST.open(V1_VECTOR, *PLACE) == KEY
    assert SECOND.open(V1_VECTOR, *PLACE) == KEY


def test_the_second_version_is_hkdf_and_aes_gcm_bound_to_name_and_base_url() -> None:
    # RFC 5869 by hand: without a salt the extraction key is a block of zeros.
    pseudorandom = hmac.digest(bytes(32), b"secret", hashlib.sha256)
    first = hmac.digest(pseudorandom, PURPOSE + b"\x01", hashlib.sha256)
    second = hmac.digest(pseudorandom, first + PURPOSE + b"\x02", hashlib.sha256)
    ciphertext = AESGCM(first).encrypt(NONCE, b"sk-test", b"litellm\0http://litellm:4000/v1")
    expected = "aes256gcm-v2:" + b64encode(second[:8] + NONCE + ciphertext).decode()
    assert V2_VECTOR.reveal() == expected
    assert expected == "aes256gcm-v2:RtAiWIAYGK0AAQIDBAUGBwgJCgsQQSg3sqEGH9E9mGjYegwFYaW1YQdb1A=="
    assert SECOND.open(V2_VECTOR, *PLACE) == KEY
    assert FIRST.open(V2_VECTOR, *PLACE) == KEY


@pytest.mark.parametrize("envelope", [V1_VECTOR, V2_VECTOR], ids=["v1", "v2"])
def test_no_bit_of_an_envelope_can_be_changed(envelope: Secret) -> None:
    for changed in [*flipped(envelope), *respelled(envelope)]:
        with pytest.raises(CannotOpen):
            SECOND.open(changed, *PLACE)


@pytest.mark.parametrize("version", list(Envelope))
def test_no_end_of_an_envelope_can_be_missing(version: Envelope) -> None:
    text = Sealer(SECRET, version).seal(KEY, *PLACE, NONCE).reveal()
    for end in range(len(text)):
        with pytest.raises(CannotOpen):
            SECOND.open(Secret(text[:end]), *PLACE)


@pytest.mark.parametrize(
    "place",
    [
        ("other", PLACE[1]),
        (PLACE[0], "http://litellm:4000"),
        (PLACE[0], "http://attacker.example/v1"),
        ("litellm\0http:", "//litellm:4000/v1"),
    ],
)
def test_an_envelope_of_the_second_version_opens_nowhere_else(place: tuple[str, str]) -> None:
    with pytest.raises(CannotOpen, match="sealed for another name or base_url"):
        SECOND.open(V2_VECTOR, *place)


def test_another_token_secret_is_told_apart_from_tampering() -> None:
    with pytest.raises(OtherSecret, match="another TOKEN_SECRET"):
        Sealer(Secret("rotated")).open(V2_VECTOR, *PLACE)
    tampered = flipped(V2_VECTOR)[-1]
    with pytest.raises(CannotOpen) as caught:
        SECOND.open(tampered, *PLACE)
    assert not isinstance(caught.value, OtherSecret)


def test_another_token_secret_does_not_open_the_first_version() -> None:
    with pytest.raises(CannotOpen, match="another TOKEN_SECRET, or changed"):
        Sealer(Secret("rotated")).open(V1_VECTOR, *PLACE)


@pytest.mark.parametrize(
    "envelope",
    ["", "sk-test", "aes256gcm", "aes256gcm:", "aes256gcm:====", "aes256gcm-v2:", "aes256gcm-v3:AAAA", "aes256gcm:é"],
)
def test_what_is_no_envelope_is_refused_and_not_repeated(envelope: str) -> None:
    with pytest.raises(CannotOpen, match="provider 'litellm'") as caught:
        SECOND.open(Secret(envelope), *PLACE)
    assert not envelope or envelope not in str(caught.value)


def test_a_sealed_text_that_is_not_utf8_is_refused() -> None:
    sealed = AESGCM(hashlib.sha256(b"secret").digest()).encrypt(NONCE, b"\xff\xfe", None)
    with pytest.raises(CannotOpen, match="not text"):
        SECOND.open(Secret("aes256gcm:" + b64encode(NONCE + sealed).decode()), *PLACE)


def test_spare_bits_of_base64_make_no_second_spelling() -> None:
    text = FIRST.seal(Secret("k"), *PLACE, NONCE).reveal()
    assert text.endswith("=")
    same = [text[:-2] + other + "=" for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"]
    body = text.removeprefix("aes256gcm:")
    twins = [twin for twin in same if b64decode(twin.removeprefix("aes256gcm:")) == b64decode(body)]
    assert len(twins) > 1
    for twin in twins:
        if twin != text:
            with pytest.raises(CannotOpen, match="damaged"):
                FIRST.open(Secret(twin), *PLACE)


def test_the_same_key_in_two_records_or_under_two_nonces_looks_different() -> None:
    assert SECOND.seal(KEY, "other", PLACE[1], NONCE) != V2_VECTOR
    assert SECOND.seal(KEY, *PLACE, bytes(12)) != V2_VECTOR


def test_a_secret_of_bytes_that_are_not_utf8_works() -> None:
    sealer = Sealer(Secret(b"\xff\x00secret".decode("utf-8", "surrogateescape")))
    assert sealer.open(sealer.seal(KEY, *PLACE, NONCE), *PLACE) == KEY


@pytest.mark.parametrize("nonce", [b"", bytes(11), bytes(13)])
def test_a_nonce_of_another_size_is_our_mistake(nonce: bytes) -> None:
    with pytest.raises(LocalError, match="12 bytes"):
        SECOND.seal(KEY, *PLACE, nonce)


def test_an_empty_token_secret_is_our_mistake() -> None:
    with pytest.raises(LocalError, match="empty"):
        Sealer(Secret(""))
