from collections.abc import Mapping

import pytest

from protocol.errors import Refusal
from protocol.identity.provider_choice import BootProvider, Choice, Provider, Providers
from protocol.identity.providers import ProviderRecord, read_record
from protocol.identity.sealing import Envelope, Sealer
from protocol.identity.upstream_url import OriginGuard
from protocol.values import Secret

SEALER = Sealer(Secret("secret"))


def record(name: str, **values: object) -> ProviderRecord:
    return read_record({"name": name, "base_url": f"http://{name}.example/v1", **values})


def with_keys(name: str, variable: str | None, key: str | None, **values: object) -> ProviderRecord:
    plain = record(name, **values)
    envelope = None if key is None else SEALER.seal(Secret(key), name, str(plain.base_url), bytes(12))
    return ProviderRecord(
        name, plain.base_url, api_key_env=variable, encrypted_api_key=envelope, enabled=plain.enabled, proxy=plain.proxy
    )


def stored(*records: ProviderRecord) -> dict[str, ProviderRecord]:
    return {one.name: one for one in records}


def resolve(
    providers: Providers,
    name: str,
    environment: Mapping[str, str] | None = None,
    sealer: Sealer = SEALER,
    allowed: tuple[str, ...] = (),
) -> Provider:
    return providers.resolve(name, environment=(environment or {}).get, sealer=sealer, guard=OriginGuard(allowed))


def refused(providers: Providers, name: str, environment: Mapping[str, str] | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        resolve(providers, name, environment)
    return caught.value


# --- with which key


@pytest.mark.parametrize(
    ("variable", "key", "environment", "expected", "warning"),
    [
        (None, None, {}, None, ""),
        (None, "sk-stored", {}, "sk-stored", ""),
        ("KEY", "sk-stored", {"KEY": " sk-env\n"}, "sk-env", ""),
        ("KEY", "sk-stored", {}, "sk-stored", ""),
        ("KEY", "sk-stored", {"KEY": " "}, "sk-stored", ""),
        ("KEY", None, {"KEY": ""}, None, "the environment variable KEY has no key"),
    ],
)
def test_the_variable_counts_before_the_stored_key(
    variable: str | None, key: str | None, environment: dict[str, str], expected: str | None, warning: str
) -> None:
    provider = resolve(Providers(stored(with_keys("a", variable, key))), "a", environment)
    assert provider.key == (None if expected is None else Secret(expected))
    assert provider.warning == warning


@pytest.mark.parametrize(
    ("inline", "variable", "environment", "expected"),
    [
        ("sk-inline", "KEY", {"KEY": "sk-env"}, "sk-inline"),
        (None, "KEY", {"KEY": "sk-env"}, "sk-env"),
        (None, "KEY", {}, None),
        (None, None, {}, None),
    ],
)
def test_a_key_in_the_settings_counts_before_their_variable(
    inline: str | None, variable: str | None, environment: dict[str, str], expected: str | None
) -> None:
    boot = BootProvider(with_keys("litellm", variable, None), None if inline is None else Secret(inline))
    provider = resolve(Providers({}, boot), "litellm", environment)
    assert provider.key == (None if expected is None else Secret(expected))


def test_a_stored_record_stands_before_the_settings() -> None:
    boot = BootProvider(record("litellm", base_url="http://boot.example"), Secret("sk-boot"))
    providers = Providers(stored(with_keys("litellm", None, "sk-stored")), boot)
    assert resolve(providers, "litellm").key == Secret("sk-stored")
    assert str(resolve(providers, "litellm").record.base_url) == "http://litellm.example/v1"
    assert list(providers.records()) == ["litellm"]


def test_a_missing_provider_is_a_404() -> None:
    boot = BootProvider(record("litellm"))
    refusal = refused(Providers(stored(record("a")), boot), "b")
    assert (refusal.status, refusal.kind, refusal.code) == (404, "not_found_error", "provider_not_found")
    assert refusal.message == "provider 'b' is not configured"


def test_a_disabled_provider_is_a_503_and_the_settings_do_not_stand_in() -> None:
    providers = Providers(stored(record("litellm", enabled=False)), BootProvider(record("litellm"), Secret("sk-boot")))
    refusal = refused(providers, "litellm")
    assert (refusal.status, refusal.code, refusal.message) == (
        503,
        "provider_disabled",
        "provider 'litellm' is disabled",
    )


def test_a_key_that_cannot_be_opened_is_a_503_that_names_the_record() -> None:
    providers = Providers(stored(with_keys("a", None, "sk-hunter2")))
    with pytest.raises(Refusal) as caught:
        resolve(providers, "a", sealer=Sealer(Secret("rotated")))
    assert caught.value.status == 503
    assert "provider 'a'" in caught.value.message
    assert "another TOKEN_SECRET" in caught.value.message


@pytest.mark.parametrize("key", ["sk hunter2", "sk-hunter2\r\nx-evil: 1", "schlüssel-hunter2", ""])
def test_a_key_that_no_header_can_carry_is_a_503_that_does_not_show_it(key: str) -> None:
    sealed = Sealer(Secret("secret"), Envelope.V1).seal(Secret(key), "a", "", bytes(12))
    plain = record("a")
    by_file = Providers(stored(ProviderRecord("a", plain.base_url, encrypted_api_key=sealed)))
    by_settings = Providers({}, BootProvider(plain, Secret(key)))
    refusals = [refused(by_file, "a"), refused(by_settings, "a")]
    if key:
        refusals.append(refused(Providers(stored(with_keys("a", "KEY", None))), "a", {"KEY": key}))
    for refusal in refusals:
        assert refusal.status == 503
        assert "provider 'a': the " in refusal.message
        assert "hunter2" not in refusal.message


@pytest.mark.parametrize("place", [{"base_url": "http://2852039166/"}, {"proxy": "http://[fe80::1]:3128"}])
def test_a_stored_record_at_a_closed_place_is_a_503_that_does_not_show_it(place: dict[str, object]) -> None:
    providers = Providers(stored(record("a", **place)))
    refusal = refused(providers, "a")
    assert (refusal.status, refusal.message) == (503, "provider 'a' is at a place that is not allowed")
    assert "link-local" in str(refusal.__cause__)
    assert resolve(providers, "a", allowed=("169.254.169.254", "fe80::1")).key is None


def test_what_the_settings_say_is_not_judged() -> None:
    boot = BootProvider(record("litellm", base_url="http://0.0.0.0:4000/v1"))
    assert str(resolve(Providers({}, boot), "litellm").record.base_url) == "http://0.0.0.0:4000/v1"


# --- which provider

SEVERAL = Providers(
    stored(
        record("alpha", models=["m", "only-alpha", "shared/m"], default_model="m"),
        record("beta", models=["m", "only-beta"], models_prefix="b"),
        record("closed", models=["m", "only-closed"], enabled=False),
        record("open"),
    ),
    BootProvider(record("litellm", models=["m", "boot"], default_model="boot")),
)


def chosen(model: str | None, *fallbacks: str, default: str = "litellm", providers: Providers = SEVERAL) -> list[str]:
    """The choices as ``provider:model``."""
    return [
        f"{choice.provider}:{choice.model}"
        for choice in providers.choose(model, default=default, fallbacks=list(fallbacks))
    ]


@pytest.mark.parametrize(
    ("model", "fallbacks", "choices"),
    [
        ("only-alpha", (), ["alpha:only-alpha"]),
        ("only-beta", (), ["beta:only-beta"]),
        ("boot", (), ["litellm:boot"]),
        ("m", (), ["litellm:m"]),
        ("only-closed", (), ["litellm:only-closed"]),
        ("unknown", (), ["litellm:unknown"]),
        ("alpha/unknown", (), ["alpha:unknown"]),
        ("alpha/a/b", (), ["alpha:a/b"]),
        ("b/unknown", (), ["beta:unknown"]),
        ("beta/unknown", (), ["litellm:beta/unknown"]),
        ("shared/m", (), ["alpha:shared/m"]),
        ("nobody/m", (), ["litellm:nobody/m"]),
        ("alpha/", (), ["litellm:alpha/"]),
        (None, (), ["litellm:boot"]),
        ("", (), ["litellm:boot"]),
        ("m", ("beta", "alpha"), ["litellm:m", "beta:m", "alpha:m"]),
        ("only-alpha", ("beta", "open"), ["alpha:only-alpha", "open:only-alpha"]),
        ("only-alpha", ("beta/only-beta", "alpha", "closed/m", "missing"), ["alpha:only-alpha", "beta:only-beta"]),
        ("alpha/m", ("beta", "open"), ["alpha:m"]),
        ("m", ("litellm/boot", "litellm", "beta", "beta"), ["litellm:m", "litellm:boot", "beta:m"]),
        (None, ("alpha", "beta"), ["litellm:boot", "alpha:m", "beta:None"]),
    ],
)
def test_who_is_asked_for_a_model(model: str | None, fallbacks: tuple[str, ...], choices: list[str]) -> None:
    assert chosen(model, *fallbacks) == choices


def test_of_several_that_list_a_model_the_default_comes_first_then_the_fallbacks_then_names() -> None:
    assert chosen("m", default="beta") == ["beta:m"]
    assert chosen("m", "beta", default="open") == ["beta:m"]
    assert chosen("m", default="open") == ["alpha:m"]


def test_a_single_provider_gets_every_model_as_it_is() -> None:
    single = Providers(stored(record("openai", models=["openai/gpt-4o"])))
    assert chosen("openai/auto", default="openai", providers=single) == ["openai:openai/auto"]
    boot = Providers({}, BootProvider(record("litellm")))
    assert chosen("litellm/gpt-4o", providers=boot) == ["litellm:litellm/gpt-4o"]
    assert boot.choose(None, default="litellm") == [Choice("litellm", None)]


def test_a_default_that_is_missing_is_a_404() -> None:
    for model in ("unknown", None):
        with pytest.raises(Refusal, match="'gone' is not configured") as caught:
            chosen(model, "alpha", default="gone")
        assert caught.value.status == 404
    assert chosen("only-alpha", default="gone") == ["alpha:only-alpha"]


def test_a_default_that_is_disabled_is_a_503_unless_a_fallback_stands_in() -> None:
    for model in ("unknown", None):
        with pytest.raises(Refusal, match="'closed' is disabled") as caught:
            chosen(model, default="closed")
        assert caught.value.status == 503
    assert chosen("unknown", "alpha", "open", default="closed") == ["open:unknown"]


def test_a_disabled_provider_that_the_request_names_is_a_503() -> None:
    with pytest.raises(Refusal, match="'closed' is disabled"):
        chosen("closed/m", "open")


def test_of_two_with_one_prefix_the_enabled_one_is_asked() -> None:
    twins = Providers(
        stored(record("a", models_prefix="x", enabled=False), record("b", models_prefix="x"), record("c"))
    )
    assert chosen("x/m", default="c", providers=twins) == ["b:m"]
