import json
from itertools import count
from typing import Any

import pytest

from protocol.config import OpenAiApi
from protocol.errors import LocalError, Refusal
from protocol.files import CorruptFile, FileContent, Missing, Unreadable
from protocol.identity.providers import (
    FieldFault,
    GivenKey,
    ProviderDraft,
    ProviderRecord,
    Removal,
    Upsert,
    read_record,
    read_store,
    upsert,
)
from protocol.identity.sealing import Envelope, Sealer
from protocol.identity.upstream_url import ProxyUrl, base_url
from protocol.values import Secret

PATH = "/data/providers.lenv"
SEALER = Sealer(Secret("secret"))
V1 = "aes256gcm:AAECAwQFBgcICQoL2r2J/wywEXY96fQIUEk6u5pOO4wAGBk="

ORIGINAL_STORE = (
    b"# Link.Assistant.Router provider store\n"
    b"# Each PROVIDER value is JSON; inline API keys are encrypted.\n"
    b'PROVIDER: {"name":"litellm","kind":"open-a-i-compatible","base_url":"http://localhost:4000/v1",'
    b'"default_model":"claude-sonnet","models":["claude-sonnet"],'
    b'"encrypted_api_key":"' + V1.encode() + b'","enabled":true}\n'
    b'PROVIDER: {"name":"other","kind":"open-a-i-compatible","base_url":"https://other.example/v1","models":[],'
    b'"api_key_env":"OTHER_KEY","enabled":false}\n'
)


def nonces() -> Any:
    """Entropy that never repeats: 1, 2, 3..."""
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def record(name: object = "litellm", **values: object) -> ProviderRecord:
    return read_record({"name": name, "base_url": "http://litellm:4000/v1", **values})


def changed(change: Upsert | Removal, content: FileContent) -> bytes:
    """What a store file holds after a change; the same where it changes nothing."""
    after = change([("/data/else", b""), (PATH, content)])
    assert set(after) <= {PATH}
    return after.get(PATH, content if isinstance(content, bytes) else b"")


def put(content: FileContent, *drafts: ProviderDraft, sealer: Sealer = SEALER) -> bytes:
    return changed(upsert(PATH, drafts, sealer, nonces()), content)


def key_of(content: bytes, name: str = "litellm") -> str | None:
    stored = read_store(PATH, content)[name]
    if stored.encrypted_api_key is None:
        return None
    return SEALER.open(stored.encrypted_api_key, stored.name, str(stored.base_url)).reveal()


def with_key(key: str, **values: object) -> ProviderDraft:
    return ProviderDraft(record(**values), GivenKey(api_key=Secret(key)))


# --- records


def test_a_store_of_the_rust_program_is_read() -> None:
    litellm, other = read_store(PATH, ORIGINAL_STORE).values()
    assert (litellm.name, litellm.default_model, litellm.models) == ("litellm", "claude-sonnet", ("claude-sonnet",))
    assert str(litellm.base_url) == "http://localhost:4000/v1"
    assert litellm.enabled
    assert litellm.encrypted_api_key == Secret(V1)
    assert (other.name, other.api_key_env, other.enabled) == ("other", "OTHER_KEY", False)
    assert key_of(ORIGINAL_STORE) == "sk-test"


@pytest.mark.parametrize(
    "kind", ["openai-compatible", "open-a-i-compatible", "OpenAI", "openai_like", "LiteLLM", "", None]
)
def test_every_spelling_of_the_kind_is_written_as_one(kind: str | None) -> None:
    assert record(kind=kind).redacted()["kind"] == "openai-compatible"


def test_a_redacted_record_has_the_fields_of_the_original_in_order() -> None:
    stored = read_store(PATH, ORIGINAL_STORE)
    assert json.dumps(stored["litellm"].redacted()) == (
        '{"name": "litellm", "kind": "openai-compatible", "base_url": "http://localhost:4000/v1", '
        '"default_model": "claude-sonnet", "models": ["claude-sonnet"], "has_encrypted_api_key": true, "enabled": true}'
    )
    assert stored["other"].redacted() == {
        "name": "other",
        "kind": "openai-compatible",
        "base_url": "https://other.example/v1",
        "models": [],
        "api_key_env": "OTHER_KEY",
        "has_encrypted_api_key": False,
        "enabled": False,
    }


def test_fields_of_ours_are_shown_and_stored_when_set() -> None:
    wanted = record(api="Both", proxy="socks5://127.0.0.1", models_prefix="local")
    assert wanted.api is OpenAiApi.BOTH
    assert wanted.proxy == ProxyUrl("socks5", "127.0.0.1", 1080)
    extra = {"api": "both", "proxy": "socks5://127.0.0.1:1080", "models_prefix": "local"}
    assert wanted.redacted().items() >= extra.items()
    content = put(Missing(), ProviderDraft(wanted))
    assert json.loads(content.partition(b"PROVIDER: ")[2]).items() >= extra.items()
    assert read_store(PATH, content) == {"litellm": wanted}


def test_nothing_of_a_key_is_in_any_representation() -> None:
    draft = with_key("sk-hunter2")
    change = upsert(PATH, [draft], SEALER, nonces())
    stored = read_store(PATH, changed(change, Missing()))["litellm"]
    assert stored.encrypted_api_key is not None
    envelope = stored.encrypted_api_key.reveal()
    for shown in (repr(draft), repr(change), repr(stored), str(stored), repr(stored.redacted()), repr(SEALER)):
        assert "hunter2" not in shown
        assert envelope not in shown
    extended = ORIGINAL_STORE.replace(b'"enabled":true', b'"enabled":true,"token":"sk-hunter2"')
    kept = read_store(PATH, extended)["litellm"]
    assert "hunter2" not in repr(kept) + repr(kept.redacted())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": None}, "name: it is required"),
        ({"name": " "}, "name: it is required"),
        ({"name": "a b"}, "name: expected ASCII letters"),
        ({"name": "ä"}, "name: expected ASCII letters"),
        ({"name": "a/b"}, "name: expected ASCII letters"),
        ({"name": ".."}, "not dots alone"),
        ({"name": "x" * 129}, "at most 128"),
        ({"name": 7}, "name: expected a text"),
        ({"name": "a\nb"}, "name: expected a text without control characters"),
        ({"base_url": None}, "base_url: it is required"),
        ({"base_url": "localhost:4000"}, "base_url: expected http"),
        ({"base_url": "http://a b/"}, "base_url: expected a host name"),
        ({"base_url": ["http://a"]}, "base_url: expected a text"),
        ({"kind": "anthropic"}, "kind: expected one of openai-compatible, "),
        ({"kind": True}, "kind: expected a text"),
        ({"default_model": 1}, "default_model: expected a text"),
        ({"default_model": "x" * 257}, "at most 256 characters"),
        ({"models": {"a": 1}}, "models: expected a list"),
        ({"models": ["a", None]}, "models: expected a text"),
        ({"models": "a,b\x00"}, "models: expected a text without control characters"),
        ({"enabled": "maybe"}, "enabled: expected true or false"),
        ({"enabled": 1}, "enabled: expected true or false"),
        ({"api": "embeddings"}, "api: expected one of chat, responses, both"),
        ({"proxy": "litellm"}, "proxy: expected http://, https://, socks5://"),
        ({"models_prefix": "a/b"}, "models_prefix: expected ASCII letters"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(FieldFault) as caught:
        record(**{"name": "litellm", **values})
    assert message in str(caught.value)
    assert caught.value.field == next(iter(values))


def test_blanks_and_repeats_do_not_count() -> None:
    loose = record(" litellm ", models=[" a ", "", "b", "a"], default_model=" a ", base_url=" HTTP://LiteLLM:4000/v1/ ")
    assert loose == record(models="a, b", default_model="a")


# --- the file


def test_a_new_store_explains_itself_and_is_sorted_by_name() -> None:
    content = put(Missing(), *(ProviderDraft(record(name)) for name in ("zeta", "alpha", "Beta")))
    lines = content.decode().splitlines()
    assert [line.startswith("# ") for line in lines] == [True, True, False, False, False]
    assert lines[2] == (
        'PROVIDER: {"name":"Beta","kind":"openai-compatible","base_url":"http://litellm:4000/v1","models":[],'
        '"enabled":true}'
    )
    assert list(read_store(PATH, content)) == ["Beta", "alpha", "zeta"]
    assert [json.loads(line.removeprefix("PROVIDER: "))["name"] for line in lines[2:]] == ["Beta", "alpha", "zeta"]


@pytest.mark.parametrize("content", [Missing(), b"", b"\n \n", b"# only words\n", b"\xef\xbb\xbf"])
def test_a_store_without_records_is_empty(content: FileContent) -> None:
    assert read_store(PATH, content) == {}


def test_a_change_touches_its_own_line_only() -> None:
    content = ORIGINAL_STORE + b"SOMETHING: else\n\n  # the end, without a line end"
    after = put(content, ProviderDraft(record("beta")), ProviderDraft(record("nova")), ProviderDraft(record("zeta")))
    before = content.splitlines()
    kept = [line for line in after.splitlines() if line in before]
    assert kept == before
    assert list(read_store(PATH, after)) == ["beta", "litellm", "nova", "other", "zeta"]
    names = [json.loads(line[9:])["name"] for line in after.splitlines() if line.startswith(b"PROVIDER:")]
    assert names == sorted(names)
    again = changed(Removal(PATH, "nova"), changed(Removal(PATH, "zeta"), changed(Removal(PATH, "beta"), after)))
    assert again == content + b"\n"


def test_unknown_fields_stay_with_their_record() -> None:
    content = ORIGINAL_STORE.replace(b'"models":[],', b'"models":[],"weight":1.50,"tags":{"a":[1,2]},')
    after = put(content, ProviderDraft(record("other", base_url="https://other.example/v1", models=["m"])))
    assert b'"weight":1.50,"tags":{"a":[1,2]}' in after
    assert read_store(PATH, after)["other"].models == ("m",)


def test_of_two_lines_with_one_name_the_later_counts_and_one_is_left_by_a_change() -> None:
    twice = ORIGINAL_STORE + ORIGINAL_STORE.splitlines(keepends=True)[2].replace(b"4000", b"5000")
    assert str(read_store(PATH, twice)["litellm"].base_url) == "http://localhost:5000/v1"
    after = put(twice, ProviderDraft(record("litellm", base_url="http://localhost:5000/v1")))
    assert after.count(b'"litellm"') == 1
    assert changed(Removal(PATH, "litellm"), twice).count(b'"litellm"') == 0


def test_a_store_written_on_windows_is_read() -> None:
    content = b"\xef\xbb\xbf" + ORIGINAL_STORE.replace(b"\n", b"\r\n")
    assert read_store(PATH, content) == read_store(PATH, ORIGINAL_STORE)
    assert read_store(PATH, content.partition(b"encrypted.\r\n")[2]) == read_store(PATH, ORIGINAL_STORE)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"PROVIDER: hunter2", "is not a JSON object"),
        (b"PROVIDER:", "is not a JSON object"),
        (b'PROVIDER: ["hunter2"]', "is not a JSON object"),
        (b'PROVIDER: {"name":"hunter2"', "is not a JSON object"),
        (b"PROVIDER: " + b'{"a":' * 100_000, "is not a JSON object"),
        (b'PROVIDER: {"name":"x"}', "base_url: it is required"),
        (b'PROVIDER: {"name":"x","base_url":"hunter2"}', "base_url: expected http"),
        (b'PROVIDER: {"name":"x","base_url":"http://a","kind":"hunter2"}', "kind: expected one of"),
        (b'PROVIDER: {"name":"x","base_url":"http://a","api_key":"hunter2"}', "does not belong here in the clear"),
        (b'PROVIDER: {"name":"x","base_url":"http://a","encrypted_api_key":["hunter2"]}', "encrypted_api_key: exp"),
        (b"# caf\xe9", "not UTF-8"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_and_nothing_is_changed(line: bytes, reason: str) -> None:
    content = ORIGINAL_STORE + line + b"\n"
    for attempt in (
        lambda: read_store(PATH, content),
        lambda: put(content, ProviderDraft(record())),
        lambda: changed(Removal(PATH, "other"), content),
    ):
        with pytest.raises(CorruptFile) as caught:
            attempt()
        assert f"{PATH}, line 5: " in str(caught.value)
        assert reason in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_a_store_that_cannot_be_read_is_not_replaced() -> None:
    with pytest.raises(CorruptFile, match="Permission denied"):
        put(Unreadable("Permission denied"), ProviderDraft(record()))


def test_an_update_is_given_its_file() -> None:
    with pytest.raises(LocalError):
        Removal(PATH, "litellm")([("/data/else", b"")])


# --- changes


def test_a_given_key_is_sealed_for_its_record() -> None:
    content = put(Missing(), with_key("sk-hunter2"))
    assert b"hunter2" not in content
    assert b'"encrypted_api_key":"aes256gcm-v2:' in content
    assert key_of(content) == "sk-hunter2"


def test_for_the_rust_program_all_lines_are_written_its_way() -> None:
    sealer = Sealer(Secret("secret"), Envelope.V1)
    content = put(put(Missing(), ProviderDraft(record("zeta"))), with_key("sk-test"), sealer=sealer)
    for line in content.decode().splitlines()[2:]:
        stored = json.loads(line.removeprefix("PROVIDER: "))
        assert stored["kind"] == "open-a-i-compatible"
        assert stored.get("encrypted_api_key", "aes256gcm:").startswith("aes256gcm:")
    assert key_of(content) == "sk-test"


def test_a_change_that_says_nothing_about_the_key_keeps_it() -> None:
    before = put(Missing(), with_key("sk-one"))
    after = put(before, ProviderDraft(record(enabled=False, models=["m"])))
    assert key_of(after) == "sk-one"
    stored = read_store(PATH, after)["litellm"]
    assert (stored.enabled, stored.models) == (False, ("m",))


@pytest.mark.parametrize(
    "moved",
    [
        {"base_url": "http://attacker.example/v1"},
        {"base_url": "http://litellm:4000/v2"},
        {"base_url": "https://litellm:4000/v1"},
        {"proxy": "http://attacker.example"},
    ],
)
def test_a_key_does_not_follow_a_record_to_another_place(moved: dict[str, object]) -> None:
    for before in (
        put(Missing(), with_key("sk-one")),
        put(Missing(), ProviderDraft(record(), GivenKey(api_key_env="LITELLM_MASTER_KEY"))),
    ):
        change = upsert(PATH, [ProviderDraft(record("zeta")), ProviderDraft(record(**moved))], SEALER, nonces())
        assert change([(PATH, before)]) == {}
        with pytest.raises(Refusal, match="give api_key or api_key_env again") as caught:
            change.outcome([(PATH, before)])
        assert (caught.value.status, caught.value.param) == (400, "api_key")
        assert key_of(put(before, with_key("sk-two", **moved))) == "sk-two"
        variable = put(before, ProviderDraft(record(**moved), GivenKey(api_key_env="OTHER_KEY")))
        assert key_of(variable) is None
        keyless = put(before, ProviderDraft(record(**moved), GivenKey(api_key=Secret(""))))
        assert (key_of(keyless), read_store(PATH, keyless)["litellm"].api_key_env) == (None, None)


def test_a_record_without_a_key_may_move() -> None:
    before = put(Missing(), ProviderDraft(record()))
    after = put(before, ProviderDraft(record(base_url="http://elsewhere/v1")))
    assert str(read_store(PATH, after)["litellm"].base_url) == "http://elsewhere/v1"


def test_another_spelling_of_the_same_place_is_no_move() -> None:
    before = put(Missing(), with_key("sk-one", base_url="http://127.0.0.1:80/v1"))
    assert key_of(put(before, ProviderDraft(record(base_url="HTTP://0x7f.1/v1/")))) == "sk-one"


@pytest.mark.parametrize(
    ("given", "key", "variable"),
    [
        (GivenKey(), "sk-one", "VARIABLE"),
        (GivenKey(api_key=Secret("sk-two")), "sk-two", None),
        (GivenKey(api_key=Secret("sk-two"), api_key_env="OTHER"), "sk-two", "OTHER"),
        (GivenKey(api_key_env="OTHER"), "sk-one", "OTHER"),
        (GivenKey(api_key_env=""), "sk-one", None),
        (GivenKey(api_key=Secret("")), None, "VARIABLE"),
        (GivenKey(api_key=Secret(""), api_key_env=""), None, None),
    ],
)
def test_what_becomes_of_a_stored_key_and_variable(given: GivenKey, key: str | None, variable: str | None) -> None:
    before = put(Missing(), ProviderDraft(record(), GivenKey(api_key=Secret("sk-one"), api_key_env="VARIABLE")))
    change = upsert(PATH, [ProviderDraft(record(), given)], SEALER, nonces())
    after = changed(change, before)
    assert (key_of(after), read_store(PATH, after)["litellm"].api_key_env) == (key, variable)
    assert change.outcome([(PATH, after)]) == list(read_store(PATH, after).values())
    assert changed(change, after) == after


def test_an_envelope_that_comes_along_is_kept_as_it_is() -> None:
    content = put(Missing(), ProviderDraft(record(), GivenKey(encrypted_api_key=Secret(V1))))
    assert V1.encode() in content
    assert key_of(content) == "sk-test"


def test_many_are_stored_together_or_not_at_all() -> None:
    before = put(Missing(), with_key("sk-one"))
    drafts = [with_key("sk-a", name="a"), with_key("sk-b", name="b")]
    after = put(before, *drafts)
    assert [key_of(after, name) for name in ("a", "b", "litellm")] == ["sk-a", "sk-b", "sk-one"]
    assert put(before, *drafts, ProviderDraft(record(base_url="http://elsewhere"))) == before


def test_changes_of_two_processes_do_not_undo_each_other() -> None:
    ours = upsert(PATH, [with_key("sk-a", name="a")], SEALER, nonces())
    theirs = upsert(PATH, [with_key("sk-b", name="b")], SEALER, nonces())
    for first, second in ((ours, theirs), (theirs, ours)):
        content = changed(second, changed(first, ORIGINAL_STORE))
        assert [key_of(content, name) for name in ("a", "b", "litellm")] == ["sk-a", "sk-b", "sk-test"]
        assert set(read_store(PATH, changed(Removal(PATH, "litellm"), content))) == {"a", "b", "other"}


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert Removal(PATH, "missing")([(PATH, ORIGINAL_STORE)]) == {}
    assert Removal(PATH, "missing")([(PATH, Missing())]) == {}


def test_the_outcome_is_what_is_stored() -> None:
    change = upsert(PATH, [with_key("sk-one")], SEALER, nonces())
    (stored,) = change.outcome([(PATH, changed(change, Missing()))])
    assert stored.redacted()["has_encrypted_api_key"] is True
    assert stored.base_url == base_url("http://litellm:4000/v1")
