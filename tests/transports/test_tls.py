"""The TLS pump against a real TLS server in memory, with an authority made for the occasion."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import Origin
from tests.support.splits import byte_by_byte, cut_points, split
from tests.support.tls import AUTHORITY, CLIENT_CONTEXT, NAME, STRANGER, Server, server_context
from transports.tls import TlsPump, Trust, client_context


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


# --- TLS within TLS ---------------------------------------------------------------------------------------------------


class Nested:
    """A server behind a proxy that is itself spoken to over TLS."""

    def __init__(self) -> None:
        outer, self.proxy = joined()
        self.server = Server()
        self.pump = TlsPump(CLIENT_CONTEXT, NAME, outer)
        data = self.pump.start()
        while data:
            self.pump.decrypt(self.answers(self.takes(data)))
            data = self.pump.take_output()

    def takes(self, data: bytes) -> bytes:
        """What the server says to what the proxy sends on of this."""
        self.proxy.takes(data)
        passed_on, self.proxy.plain = self.proxy.plain, b""
        return self.server.takes(passed_on)

    def answers(self, data: bytes) -> bytes:
        """What arrives of what the server sends."""
        return self.proxy.says(data) if data else b""


def test_a_pump_may_run_within_another() -> None:
    nested = Nested()
    assert nested.pump.ready
    nested.takes(nested.pump.encrypt(b"request"))
    assert nested.server.plain == b"request"
    assert nested.pump.decrypt(nested.answers(nested.server.says(b"response"))) == b"response"


@given(data=st.binary(max_size=40_000), cuts=cut_points())
def test_nested_plaintext_does_not_depend_on_cuts_either(data: bytes, cuts: list[int]) -> None:
    nested = Nested()
    ciphertext = nested.answers(nested.server.says(data)) if data else b""
    assert b"".join(map(nested.pump.decrypt, split(ciphertext, cuts))) == data


def test_both_are_told_the_end() -> None:
    nested = Nested()
    nested.takes(nested.pump.close())
    assert nested.server.tls.read(10) == b""
    assert nested.proxy.tls.read(10) == b""


def test_only_the_server_can_end_what_it_sends() -> None:
    nested = Nested()
    assert nested.pump.decrypt(nested.answers(nested.server.says(b"some of it")) + nested.proxy.ends()) == b"some of it"
    assert not nested.pump.ended
    nested = Nested()
    assert nested.pump.decrypt(nested.answers(nested.server.says(b"all of it") + nested.server.ends())) == b"all of it"
    assert nested.pump.ended


def test_what_is_tampered_with_in_either_is_a_failure() -> None:
    for inside in (True, False):
        nested = Nested()
        ciphertext = bytearray(nested.server.says(b"response"))
        if inside:
            ciphertext[-1] ^= 1
        carried = bytearray(nested.answers(bytes(ciphertext)))
        if not inside:
            carried[-1] ^= 1
        with pytest.raises(TlsPump.Failure):
            nested.pump.decrypt(bytes(carried))


# --- whom to trust ----------------------------------------------------------------------------------------------------


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


def test_the_authorities_are_read_once_and_not_before_they_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trust = Trust(str(file))
    assert trust.pump(Origin("http", NAME, 80)) is None
    with pytest.raises(OSError, match="No such file"):
        trust.pump(Origin("https", NAME, 443))
    AUTHORITY.cert_pem.write_to_path(str(file))
    context = trust.context()
    file.unlink()
    assert trust.context() is context


def test_plain_text_through_an_https_proxy_is_in_the_proxys_tls() -> None:
    outer, _ = joined()
    assert Trust(None).pump(Origin("http", NAME, 80), outer) is outer
