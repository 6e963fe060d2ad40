"""The TLS pump against a real TLS server in memory, with an authority made for the occasion."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.splits import byte_by_byte, cut_points, split
from tests.support.tls import AUTHORITY, CLIENT_CONTEXT, NAME, STRANGER, Server, server_context
from transports.tls import TlsPump, client_context


def joined(context: ssl.SSLContext = CLIENT_CONTEXT, server: Server | None = None) -> tuple[TlsPump, Server]:
    """Both sides after their handshake."""
    pump, server = TlsPump(context, NAME), server or Server()
    to_server = pump.start()
    while to_server:
        pump.decrypt(server.takes(to_server))
        to_server = pump.take_output()
    return pump, server


def test_a_handshake_verifies_and_agrees_on_http_1() -> None:
    pump, server = joined()
    assert pump.ready
    assert server.ready
    assert server.tls.selected_alpn_protocol() == "http/1.1"
    assert not pump.ended


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_in_use_carry_bytes_both_ways(version: ssl.TLSVersion) -> None:
    context = server_context()
    context.minimum_version = context.maximum_version = version
    pump, server = joined(server=Server(context))
    assert server.tls.version() == version.name.replace("_", ".")
    server.takes(pump.encrypt(b"request"))
    assert server.plain == b"request"
    assert pump.decrypt(server.says(b"response")) == b"response"


@given(data=st.binary(max_size=40_000), cuts=cut_points())
def test_plaintext_does_not_depend_on_where_the_ciphertext_was_cut(data: bytes, cuts: list[int]) -> None:
    pump, server = joined()
    ciphertext = server.says(data) if data else b""
    assert b"".join(map(pump.decrypt, split(ciphertext, cuts))) == data


def test_a_handshake_may_arrive_byte_by_byte() -> None:
    pump, server = TlsPump(CLIENT_CONTEXT, NAME), Server()
    for byte in byte_by_byte(server.takes(pump.start())):
        assert pump.decrypt(byte) == b""
    assert pump.ready
    server.takes(pump.take_output())
    assert server.ready


def test_plaintext_right_behind_the_handshake_is_not_lost() -> None:
    pump, server = TlsPump(CLIENT_CONTEXT, NAME), Server()
    pump.decrypt(server.takes(pump.start()))
    answer = server.takes(pump.take_output() + pump.encrypt(b"ask")) + server.says(b"early")
    assert pump.decrypt(answer) == b"early"
    assert server.plain == b"ask"


@pytest.mark.parametrize(
    ("context", "server", "reason"),
    [
        (CLIENT_CONTEXT, server_context(STRANGER), "certificate not accepted: "),
        (CLIENT_CONTEXT, server_context(name="other.test"), "certificate not accepted: "),
    ],
    ids=["unknown authority", "another name"],
)
def test_a_certificate_that_does_not_fit_is_not_accepted(
    context: ssl.SSLContext, server: ssl.SSLContext, reason: str
) -> None:
    pump, other = TlsPump(context, NAME), Server(server)
    with pytest.raises(TlsPump.Failure, match=reason):
        pump.decrypt(other.takes(pump.start()))
    assert not pump.ready
    assert pump.take_output(), "an alert tells the other side why"


def test_a_server_that_speaks_something_else_is_told_apart() -> None:
    pump = TlsPump(CLIENT_CONTEXT, NAME)
    pump.start()
    with pytest.raises(TlsPump.Failure):
        pump.decrypt(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_bytes_that_were_tampered_with_are_a_failure() -> None:
    pump, server = joined()
    ciphertext = bytearray(server.says(b"response"))
    ciphertext[-1] ^= 1
    with pytest.raises(TlsPump.Failure):
        pump.decrypt(bytes(ciphertext))


def test_an_end_is_known_and_what_came_before_it_is_kept() -> None:
    pump, server = joined()
    assert pump.decrypt(server.says(b"last words") + server.ends()) == b"last words"
    assert pump.ended


def test_our_end_is_told_to_the_other_side() -> None:
    pump, server = joined()
    server.incoming.write(pump.close())
    assert server.tls.read(10) == b"", "a clean end, not a cut"


def test_closing_before_the_handshake_is_over_says_nothing() -> None:
    pump = TlsPump(CLIENT_CONTEXT, NAME)
    pump.start()
    assert pump.close() == b""


def test_an_end_after_ours_is_an_end() -> None:
    pump, server = joined()
    pump.close()
    assert pump.decrypt(server.ends()) == b""
    assert pump.ended


def test_a_private_authority_is_trusted_besides_the_systems(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    pump, _ = joined(client_context(str(file)))
    assert pump.ready


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"nothing", "no certificate in it")])
def test_a_ca_file_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OSError, match=f"cannot use the CA file {file}: {reason}"):
        client_context(str(file))
