"""Provider records, envelopes and addresses come from outside: only documented errors come out, and no key does."""

import ipaddress
import json
import socket
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from protocol.config import OpenAiApi
from protocol.errors import Refusal
from protocol.files import CorruptFile
from protocol.identity.provider_choice import BootProvider, Providers
from protocol.identity.provider_import import ImportFault, read_draft, read_import
from protocol.identity.providers import (
    FieldFault,
    ProviderDraft,
    ProviderRecord,
    Removal,
    read_record,
    read_store,
    upsert,
)
from protocol.identity.sealing import NONCE_BYTES, CannotOpen, Envelope, OtherSecret, Sealer
from protocol.identity.upstream_url import OriginGuard, ProxyUrl, base_url, host_name
from protocol.values import Secret

T = TypeVar("T")

PATH = "/data/providers.lenv"
GUARD = OriginGuard()

MARKER = "hunter2"
"""Part of every key in these tests, and of nothing else."""

NAMES = st.sampled_from(["a", "b", "litellm", "Z-9", "x.y_z", "..z"])
"""Few enough that records meet."""

VARIABLES = st.sampled_from(["LITELLM_MASTER_KEY", "_K9"])
MODELS = st.sampled_from(["m", "gpt-4o", "a/m", "meta/llama:free"])
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(
    lambda text: Secret(text + MARKER)
)
SECRETS = st.text(min_size=1, max_size=40).map(Secret)
NONCES = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
HOSTS = ["litellm", "api.example", "127.0.0.1", "[::1]", "10.0.0.7", "bücher.example"]
URLS = st.sampled_from([f"http://{host}{rest}" for host in HOSTS for rest in ("", ":4000", ":443/", "/v1", "/a/b//")])
PROXIES = st.sampled_from([f"{scheme}://{host}:3128" for scheme in ("http", "socks5h") for host in HOSTS])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": NAMES, "base_url": URLS},
    optional={
        "kind": st.sampled_from(["openai-compatible", "open-a-i-compatible", "litellm", None]),
        "default_model": MODELS | st.none(),
        "models": st.lists(MODELS, max_size=3),
        "api_key": KEYS.map(Secret.reveal) | st.none() | st.just(""),
        "api_key_env": VARIABLES | st.none() | st.just(""),
        "enabled": st.booleans(),
        "api": st.sampled_from([api.value for api in OpenAiApi]),
        "proxy": PROXIES,
        "models_prefix": NAMES,
    },
)
RECORDS = FIELDS.map(read_record)
DRAFTS = FIELDS.map(lambda fields: read_draft(fields, GUARD))
STRANGE = st.dictionaries(
    st.sampled_from(["kind", "models", "enabled", "api", "proxy", "encrypted_api_key", "api_key_env", "x"])
    | st.text(max_size=5),
    JSON | NAMES,
    max_size=6,
)
STRANGE_RECORDS = st.builds(lambda strange, sound: {**strange, **sound}, STRANGE, FIELDS)
ENVELOPES = st.text(max_size=30) | st.builds(
    lambda version, data: f"{version.value}{b64encode(data).decode()}", st.sampled_from(list(Envelope)), st.binary()
)


def entropy(size: int) -> bytes:
    """One nonce for all, which nothing here depends on."""
    return bytes(range(size))


def put(drafts: list[ProviderDraft], sealer: Sealer, content: bytes) -> bytes:
    """What a store holds after the drafts are put into it; as it was, where that is declined."""
    return upsert(PATH, drafts, sealer, entropy)([(PATH, content)]).get(PATH, content)


def outcome(call: Callable[[], T], error: type[Exception]) -> T | Exception:
    """What a call returns, or the documented error it raises; anything else it raises fails the test."""
    try:
        return call()
    except error as raised:
        return raised


# --- envelopes


@given(SECRETS, SECRETS, KEYS, NAMES, URLS, NONCES, st.sampled_from(list(Envelope)))
def test_what_was_sealed_opens_under_its_own_secret_only(
    secret: Secret, other: Secret, key: Secret, name: str, url: str, nonce: bytes, version: Envelope
) -> None:
    envelope = Sealer(secret, version).seal(key, name, url, nonce)
    assert MARKER not in envelope.reveal()
    assert Sealer(secret).open(envelope, name, url) == key
    if other != secret:
        with pytest.raises(OtherSecret if version is Envelope.V2 else CannotOpen) as caught:
            Sealer(other).open(envelope, name, url)
        assert name in str(caught.value)


@given(SECRETS, KEYS, NAMES, URLS, NONCES, st.sampled_from(list(Envelope)), st.data())
def test_no_envelope_survives_a_changed_character(
    secret: Secret, key: Secret, name: str, url: str, nonce: bytes, version: Envelope, data: st.DataObject
) -> None:
    sealer = Sealer(secret, version)
    text = sealer.seal(key, name, url, nonce).reveal()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda character: character != text[at]))
    with pytest.raises(CannotOpen) as caught:
        sealer.open(Secret(text[:at] + other + text[at + 1 :]), name, url)
    assert MARKER not in str(caught.value)


@given(SECRETS, KEYS, NONCES, NAMES, URLS, NAMES, URLS)
def test_an_envelope_opens_at_its_own_place_only(
    secret: Secret, key: Secret, nonce: bytes, name: str, url: str, other_name: str, other_url: str
) -> None:
    assume((name, url) != (other_name, other_url))
    sealer = Sealer(secret)
    with pytest.raises(CannotOpen):
        sealer.open(sealer.seal(key, name, url, nonce), other_name, other_url)


@given(SECRETS, ENVELOPES, NAMES, URLS)
def test_no_text_breaks_the_opener(secret: Secret, text: str, name: str, url: str) -> None:
    with pytest.raises(CannotOpen):
        Sealer(secret).open(Secret(text), name, url)


# --- the store


@given(st.lists(RECORDS, max_size=5, unique_by=lambda record: record.name), st.sampled_from(list(Envelope)))
def test_records_come_back_as_they_were_stored(records: list[ProviderRecord], version: Envelope) -> None:
    content = put([ProviderDraft(record) for record in records], Sealer(Secret("secret"), version), b"")
    read = read_store(PATH, content)
    assert list(read.values()) == sorted(records, key=lambda record: record.name)
    lines = [line.removeprefix("PROVIDER: ") for line in content.decode().splitlines()[2:]]
    for line, record in zip(lines, read.values(), strict=True):
        kind = "openai-compatible" if version is Envelope.V2 else "open-a-i-compatible"
        assert {**record.redacted(), "kind": kind} == {**json.loads(line), "has_encrypted_api_key": False}


@given(st.lists(st.lists(DRAFTS, max_size=3), max_size=3), SECRETS)
def test_no_key_is_stored_or_shown_in_the_clear(changes: list[list[ProviderDraft]], secret: Secret) -> None:
    content = b""
    for drafts in changes:
        content = put(drafts, Sealer(secret), content)
    records = read_store(PATH, content)
    assert MARKER.encode() not in content
    assert MARKER not in repr([changes, records, [record.redacted() for record in records.values()]])


@given(
    st.lists(DRAFTS, min_size=1, max_size=3, unique_by=lambda draft: draft.record.name), st.lists(DRAFTS, max_size=4)
)
def test_an_update_and_its_outcome_agree(drafts: list[ProviderDraft], before: list[ProviderDraft]) -> None:
    sealer = Sealer(Secret("secret"))
    content = put(before, sealer, b"")
    change = upsert(PATH, drafts, sealer, entropy)
    after = change([(PATH, content)])
    if not after:
        with pytest.raises(Refusal, match="give api_key"):
            change.outcome([(PATH, content)])
        return
    holds = [(PATH, after[PATH])]
    stored = read_store(PATH, after[PATH])
    assert change.outcome(holds) == [stored[draft.record.name] for draft in drafts]
    assert change(holds) == after
    untouched = set(stored) - {draft.record.name for draft in drafts}
    assert {name: stored[name] for name in untouched} == {
        name: record for name, record in read_store(PATH, content).items() if name in untouched
    }


@given(st.lists(DRAFTS, max_size=4), DRAFTS)
def test_a_key_never_follows_a_record_to_another_place(before: list[ProviderDraft], draft: ProviderDraft) -> None:
    sealer = Sealer(Secret("secret"))
    content = put(before, sealer, b"")
    after = put([ProviderDraft(draft.record)], sealer, content)
    for name, record in read_store(PATH, after).items():
        if record.encrypted_api_key is not None:
            old = read_store(PATH, content)[name]
            assert (record.base_url, record.proxy) == (old.base_url, old.proxy)
            assert MARKER in sealer.open(record.encrypted_api_key, name, str(record.base_url)).reveal()


@given(st.lists(DRAFTS, max_size=4), st.lists(st.text(max_size=20).map(str.encode), min_size=1, max_size=4))
def test_other_lines_survive_every_change(drafts: list[ProviderDraft], words: list[bytes]) -> None:
    content = comments = b"".join(b"# " + word.replace(b"\n", b"") + b"\n" for word in words)
    for draft in drafts:
        content = put([draft], Sealer(Secret("secret")), content)
        assert content.startswith(comments)
    for draft in drafts:
        content = Removal(PATH, draft.record.name)([(PATH, content)]).get(PATH, content)
    assert content == comments


@given(st.binary() | st.binary().map(lambda data: b"PROVIDER: " + data))
@example(b"PROVIDER: {}")
def test_no_bytes_break_the_store(content: bytes) -> None:
    draft = ProviderDraft(read_record({"name": "a", "base_url": "http://a"}))
    for attempt in (
        lambda: read_store(PATH, content),
        lambda: put([draft], Sealer(Secret("secret")), content),
        lambda: Removal(PATH, "a")([(PATH, content)]),
    ):
        result = outcome(attempt, CorruptFile)
        assert not isinstance(result, Exception) or str(result).startswith(f"{PATH}, line ")


@given(STRANGE_RECORDS)
def test_no_json_object_breaks_the_store_and_what_it_means_to_others_is_kept(fields: dict[str, Any]) -> None:
    fields = {**fields, "api_key": None, "of a later version": fields}
    content = b"PROVIDER: " + json.dumps(fields).encode()
    records = outcome(lambda: read_store(PATH, content), CorruptFile)
    if not isinstance(records, Exception):
        again = put([ProviderDraft(record) for record in records.values()], Sealer(Secret("secret")), content)
        assert read_store(PATH, again) == records
        written = json.loads(again.removeprefix(b"PROVIDER: "))
        assert written["of a later version"] == fields["of a later version"]
        assert written.get("x") == fields.get("x")


# --- imports


@given(st.binary() | st.text().map(str.encode) | STRANGE_RECORDS.map(json.dumps).map(str.encode))
def test_no_bytes_break_the_import(content: bytes) -> None:
    result = outcome(lambda: read_import(content, GUARD), ImportFault)
    if isinstance(result, ImportFault):
        assert 1 <= result.line <= content.count(b"\n") + 1
    assert result != []


@given(STRANGE | STRANGE_RECORDS)
def test_no_json_object_breaks_a_draft(fields: dict[str, Any]) -> None:
    result = outcome(lambda: read_draft(fields, GUARD), FieldFault)
    if isinstance(result, FieldFault):
        assert str(result).startswith(f"{result.field}: ")


@given(
    st.lists(FIELDS, min_size=1, max_size=3, unique_by=lambda fields: str(fields["name"])), st.sampled_from([None, 1])
)
def test_the_forms_of_an_import_say_the_same(records: list[dict[str, Any]], indent: int | None) -> None:
    expected = [read_draft(fields, GUARD) for fields in records]
    lines = "".join(f"PROVIDER: {json.dumps(fields)}\n" for fields in records)
    for text in (json.dumps(records, indent=indent), json.dumps({"providers": records}, indent=indent), lines):
        assert read_import(text.encode(), GUARD) == expected
    assert read_import(json.dumps(records[0]).encode(), GUARD) == expected[:1]
    assert read_import("\n".join(map(indented, records)).encode(), GUARD) == expected


def indented(fields: dict[str, Any]) -> str:
    values = {name: ",".join(value) if isinstance(value, list) else value for name, value in fields.items()}
    written = [f'  {name} "{value}"' for name, value in values.items() if value is not None and name != "name"]
    return "\n".join([fields["name"], *written])


# --- addresses


@given(st.lists(st.sampled_from([*"0123456789abcdefx.", "0x", "169", "254", "0251", "256"]), max_size=14).map("".join))
@example("0251.0xfe.43518")
def test_numbers_are_read_as_the_system_reads_them(host: str) -> None:
    try:
        expected = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        name = outcome(lambda: host_name(host), ValueError)
        # One final dot is dropped, which the system's own reader does not do.
        assert isinstance(name, Exception) or name == host or host.endswith(".")
    else:
        assert host_name(host) == expected


@given(st.ip_addresses(v=4), st.data())
def test_every_spelling_of_an_address_is_judged_as_the_address(
    address: ipaddress.IPv4Address, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, 3))
    parts = [*address.packed[:kept], int(address) & 0xFFFF_FFFF >> 8 * kept]
    styles = st.sampled_from(["{}", "0x{:x}", "0X{:08X}", "0{:o}", "000{:o}"])
    spelled = ".".join(data.draw(styles).format(part) for part in parts)
    assert host_name(spelled) == str(address)
    verdicts = {judged(host) for host in (str(address), spelled, f"{spelled}.", f"::ffff:{address}")}
    assert len(verdicts) == 1
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        assert verdicts == {False}
    elif address.is_loopback:
        assert verdicts == {True}


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_judged_alike_as_host_and_as_the_resolvers_answer(address: ipaddress.IPv6Address) -> None:
    verdict = judged(str(address))
    answer = outcome(lambda: GUARD.check_resolved("name.example", str(address)), ValueError)
    assert judged(address.exploded) is judged(f"[{address}]") is verdict is (answer is None)
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        assert not verdict


def judged(host: str) -> bool:
    """Whether a provider may be there."""
    return outcome(lambda: GUARD.check(host), ValueError) is None


@given(st.text(max_size=40) | st.text(max_size=30).map("http://{}/v1".format) | URLS | PROXIES)
def test_what_is_read_of_an_address_is_read_again_as_the_same(text: str) -> None:
    for read in (host_name, base_url, ProxyUrl.parse):
        value = outcome(partial(read, text), ValueError)
        assert isinstance(value, ValueError) or read(str(value)) == value


# --- choosing


@given(
    st.lists(RECORDS, max_size=4, unique_by=lambda record: record.name),
    st.none() | RECORDS.map(BootProvider),
    st.none() | MODELS | NAMES.map("{}/m".format),
    NAMES,
    st.lists(NAMES | NAMES.map("{}/m".format), max_size=4),
)
def test_only_enabled_providers_are_chosen_and_each_for_a_model_once(
    records: list[ProviderRecord], boot: BootProvider | None, model: str | None, default: str, fallbacks: list[str]
) -> None:
    providers = Providers({record.name: record for record in records}, boot)
    choices = outcome(lambda: providers.choose(model, default=default, fallbacks=fallbacks), Refusal)
    if isinstance(choices, Refusal):
        assert choices.status in (404, 503)
    elif not isinstance(choices, Exception):
        assert choices
        assert len(set(choices)) == len(choices)
        assert all(providers.records()[choice.provider].enabled for choice in choices)
