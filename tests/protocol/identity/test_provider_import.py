import json

import pytest

from protocol.config import OpenAiApi
from protocol.files import Missing
from protocol.identity.provider_import import ImportFault, read_draft, read_import
from protocol.identity.providers import FieldFault, GivenKey, upsert
from protocol.identity.sealing import Sealer
from protocol.identity.upstream_url import OriginGuard, ProxyUrl
from protocol.values import Secret

GUARD = OriginGuard()
PLAIN = {"name": "litellm", "base_url": "http://litellm:4000/v1"}

INDENTED = b"""\
# as in the README
litellm
  kind "openai-compatible"
  base-url "http://litellm:4000/v1"
  model "claude-sonnet"
  models "claude-sonnet,gpt-4o"
  api-key-env "LITELLM_MASTER_KEY"
"""


def names(content: bytes) -> list[str]:
    return [draft.record.name for draft in read_import(content, GUARD)]


def fault(content: bytes) -> str:
    with pytest.raises(ImportFault) as caught:
        read_import(content, GUARD)
    return str(caught.value)


def test_the_indented_form_of_the_readme() -> None:
    (draft,) = read_import(INDENTED, GUARD)
    assert str(draft.record.base_url) == "http://litellm:4000/v1"
    assert draft.record.default_model == "claude-sonnet"
    assert draft.record.models == ("claude-sonnet", "gpt-4o")
    assert draft.key == GivenKey(api_key_env="LITELLM_MASTER_KEY")


def test_the_json_form_of_the_readme_says_the_same() -> None:
    document = b"""{
      "name": "litellm",
      "kind": "openai-compatible",
      "base_url": "http://litellm:4000/v1",
      "default_model": "claude-sonnet",
      "models": ["claude-sonnet", "gpt-4o"],
      "api_key_env": "LITELLM_MASTER_KEY"
    }"""
    assert read_import(document, GUARD) == read_import(INDENTED, GUARD)
    assert read_import(b'{"providers": [' + document + b"]}", GUARD) == read_import(INDENTED, GUARD)
    assert read_import(b"\xef\xbb\xbf \n[" + document + b"]", GUARD) == read_import(INDENTED, GUARD)


def test_the_lines_of_a_store_bring_their_stored_keys_along() -> None:
    sealer = Sealer(Secret("secret"))
    drafts = read_import(b'litellm\n base-url "http://litellm:4000/v1"\n api-key sk-hunter2\n', GUARD)
    (content,) = upsert("store", drafts, sealer, bytes)([("store", Missing())]).values()
    (again,) = read_import(content.replace(b"\n", b"\r\n"), GUARD)
    assert again.key.encrypted_api_key is not None
    assert sealer.open(again.key.encrypted_api_key, "litellm", "http://litellm:4000/v1") == Secret("sk-hunter2")
    (copied,) = upsert("copy", [again], sealer, bytes)([("copy", Missing())]).values()
    assert copied == content


def test_every_form_takes_several_providers() -> None:
    records = [{"name": name, "base_url": f"http://{name}/v1"} for name in ("b", "a", "c")]
    assert names(json.dumps(records).encode()) == ["b", "a", "c"]
    assert names(json.dumps({"providers": records}, indent=1).encode()) == ["b", "a", "c"]
    assert names("".join(f"# one\nPROVIDER: {json.dumps(one)}\n\n" for one in records).encode()) == ["b", "a", "c"]
    indented = "".join(f"{one['name']}\n\n\tbase_url {one['base_url']}\n  # field\n" for one in records)
    assert names(indented.encode()) == ["b", "a", "c"]


@pytest.mark.parametrize("field", ["base_url", "base-url", "api_base", "api-base"])
@pytest.mark.parametrize("model", ["model", "default_model", "default-model"])
@pytest.mark.parametrize("key", ["api_key", "api-key"])
def test_the_spellings_of_a_field_mean_the_same_in_every_form(field: str, model: str, key: str) -> None:
    indented = f"a\n {field} 'http://a/v1'\n {model} m\n {key} \"sk-1\"\n enabled yes\n".encode()
    document = json.dumps({"name": "a", field: "http://a/v1", model: "m", key: "sk-1", "enabled": True}).encode()
    (draft,) = read_import(indented, GUARD)
    assert read_import(document, GUARD) == [draft]
    assert (draft.record.default_model, draft.key.api_key, draft.record.enabled) == ("m", Secret("sk-1"), True)


@pytest.mark.parametrize(
    ("word", "enabled"), [("true", True), ("1", True), ("yes", True), ("false", False), ("0", False)]
)
def test_words_for_enabled(word: str, enabled: bool) -> None:
    (draft,) = read_import(f"a\n base_url http://a\n enabled {word}\n".encode(), GUARD)
    assert draft.record.enabled is enabled


def test_fields_of_ours_are_taken_in_every_form() -> None:
    (draft,) = read_import(b"a\n base_url http://a\n api responses\n proxy http://p:1\n models-prefix x\n", GUARD)
    assert draft.record.api is OpenAiApi.RESPONSES
    assert draft.record.proxy == ProxyUrl("http", "p", 1)
    assert draft.record.models_prefix == "x"
    fields = {**PLAIN, "name": "a", "base_url": "http://a", "api": "responses", "proxy": "http://p:1"}
    assert read_draft({**fields, "models_prefix": "x"}, GUARD) == draft


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: it holds no providers"),
        (b"# nothing\n\n", "line 1: it holds no providers"),
        (b"[]", "line 1: it holds no providers"),
        (b'{"providers": []}', "line 1: it holds no providers"),
        (b"a\n base_url http://a\n\xff\n", "line 3: it is not UTF-8"),
        (b'{\n "name": "a",\n "base_url" "http://a"\n}', "line 3: JSON is malformed: expected ':' (byte 28)"),
        (b'[\n{"name": "a"', "line 2: Input data was truncated"),
        (b"[" * 100_000, "line 1: it is nested too deeply"),
        (b'[\n{"name":"a","base_url":"http://a"},\n7]', "line 3: expected a record, as a JSON object"),
        (b'{"providers": {"name": "a"}}', "line 1: 'providers': there is no such field"),
        (
            b'{"providers": [\n{"name":"a","base_url":"http://a"},\n{"name":"b"}]}',
            "line 3: base_url: it is required",
        ),
        (
            b'[{"name":"a","base_url":"http://a"},\n{"name":"a","base_url":"http://b"}]',
            "line 2: provider 'a' is there twice",
        ),
        (b'# store\nPROVIDER: {"name":"a","base_url":"http://a"}\nPROVIDER: {"na', "line 3: Input data was truncated"),
        (b'\nPROVIDER: {"name":"a","base_url":"x"}', "line 2: base_url: expected http"),
        (b"PROVIDER: [1]", "line 1: expected a record, as a JSON object"),
        (b"\n  base_url http://a\n", "line 2: a field without a name of a provider above it"),
        (b"a\n base_url http://a\n colour blue\n", "line 3: 'colour': there is no such field; there are name, kind,"),
        (b"a\n base_url http://a\n models\n", "line 3: models: expected a value behind it"),
        (b"a\n base_url http://a\n api-base http://b\n", "line 3: base_url: it is there twice"),
        (b"a\n base_url http://a\n name b\n", "line 3: name: it is there twice"),
        (b"a\n\n base_url ftp://a\n", "line 3: base_url: expected http"),
        (b"a\n base_url http://a\n enabled maybe\n", "line 3: enabled: expected true or false"),
        (b"# one\na b\n base_url http://a\n", "line 2: name: expected ASCII letters"),
        (b"\na\nb\n base_url http://b\n", "line 2: base_url: it is required"),
        (b"a\n base_url http://a\nb\n base_url http://b\na\n base_url http://c\n", "line 5: provider 'a' is there"),
        (b"a\n base_url http://2852039166/\n", "line 2: base_url: no provider may be at 169.254.169.254"),
        (b"a\n base_url http://a\n proxy http://metadata.goog\n", "line 3: proxy: no provider may be at metadata.goog"),
        (b"a\n base_url http://a\n api_key_env TOKEN_SECRET\n", "line 3: api_key_env: TOKEN_SECRET is the router"),
        (b"a\n base_url http://a\n api_key_env sk-hunter2\n", "line 3: api_key_env: expected the name of"),
        (b"a\n base_url http://a\n api_key sk-hunter2 x\n", "line 3: api_key: expected a key of visible ASCII"),
        (b'{"name":"a","base_url":"http://a","api_key":["hunter2"]}', "line 1: api_key: expected a key of visible"),
        (b'{"name":"a","base_url":"http://a","model":"x","default_model":"y"}', "line 1: default_model: it is there"),
    ],
)  # fmt: skip
def test_a_fault_is_reported_with_its_line_and_without_secrets(content: bytes, message: str) -> None:
    reported = fault(content)
    assert message in reported
    assert "hunter2" not in reported


def test_an_allowed_host_may_be_imported() -> None:
    (draft,) = read_import(b"a\n base_url http://0xa9fea9fe/v1\n", OriginGuard(["169.254.169.254"]))
    assert str(draft.record.base_url) == "http://169.254.169.254/v1"


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({}, GivenKey()),
        ({"api_key": None, "api_key_env": None, "encrypted_api_key": None}, GivenKey()),
        ({"has_encrypted_api_key": True}, GivenKey()),
        ({"api_key": " sk-1 "}, GivenKey(api_key=Secret("sk-1"))),
        ({"api_key": ""}, GivenKey(api_key=Secret(""))),
        ({"api_key_env": ""}, GivenKey(api_key_env="")),
        ({"api_key": "sk-1", "api_key_env": "KEY"}, GivenKey(Secret("sk-1"), "KEY")),
    ],
)
def test_what_a_draft_says_about_its_key(fields: dict[str, object], key: GivenKey) -> None:
    assert read_draft({**PLAIN, **fields}, GUARD).key == key


def test_what_is_shown_of_a_record_can_be_sent_back() -> None:
    draft = read_draft({**PLAIN, "models": ["m"], "api_key_env": "KEY", "api": "both"}, GUARD)
    (stored,) = upsert("store", [draft], Sealer(Secret("secret")), bytes).outcome([("store", Missing())])
    assert read_draft(stored.redacted(), GUARD) == draft


def test_an_envelope_is_taken_from_files_only() -> None:
    with pytest.raises(FieldFault, match="taken from files only") as caught:
        read_draft({**PLAIN, "encrypted_api_key": "aes256gcm:AAAA"}, GUARD)
    assert caught.value.field == "encrypted_api_key"
    (draft,) = read_import(json.dumps({**PLAIN, "encrypted_api_key": "aes256gcm:AAAA", "api_key": ""}).encode(), GUARD)
    assert draft.key == GivenKey(encrypted_api_key=Secret("aes256gcm:AAAA"))


def test_a_misspelt_field_is_no_place_for_a_key() -> None:
    with pytest.raises(FieldFault, match="there is no such field") as caught:
        read_draft({**PLAIN, "apikey": "sk-hunter2"}, GUARD)
    assert "hunter2" not in str(caught.value)
