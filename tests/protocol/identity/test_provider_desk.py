"""What a router knows of its providers: those that are stored, the one in its settings, and the keys of both."""

import pytest

from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import CorruptFile, Missing
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.provider_import import read_draft
from protocol.identity.providers import upsert
from protocol.values import Secret

PATH = "/data/providers.lenv"
ENVIRONMENT = {"BOOT_KEY": "sk-boot", "STORED_KEY": "sk-variable"}
SETTINGS = {
    "DATA_DIR": "/data",
    "OPENAI_COMPATIBLE_PROVIDER_NAME": "boot",
    "OPENAI_COMPATIBLE_BASE_URL": "http://boot.example/v1",
    "OPENAI_COMPATIBLE_API_KEY_ENV": "BOOT_KEY",
    "OPENAI_COMPATIBLE_MODEL": "boot-model",
}


def config_of(**settings: str) -> Config:
    return Config.parse({**SETTINGS, **settings}, home="/home")


@pytest.fixture
def desk() -> ProviderDesk:
    return ProviderDesk(Secret("a secret"), config_of(), ENVIRONMENT)


def store(desk: ProviderDesk, **fields: object) -> None:
    """The file holds one more provider."""
    change = upsert(desk.path, [read_draft(fields, desk.guard)], desk.sealer, lambda size: bytes(size))
    desk.loaded(list(change(desk.contents or [(PATH, Missing())]).items()), 0.0)


def test_the_store_is_one_file_with_a_lock_beside_it(desk: ProviderDesk) -> None:
    assert (desk.path, list(desk.paths), desk.lock) == (PATH, [PATH], f"{PATH}.lock")
    assert desk.news(0.0) is None


def test_before_anything_is_stored_there_is_the_provider_of_the_settings(desk: ProviderDesk) -> None:
    provider = desk.resolve("boot")
    assert (str(provider.record.base_url), provider.record.default_model) == ("http://boot.example/v1", "boot-model")
    assert provider.key == Secret("sk-boot")


def test_a_stored_provider_has_its_key_from_the_environment_or_from_the_store(desk: ProviderDesk) -> None:
    store(desk, name="one", base_url="http://one.example", api_key="sk-stored")
    store(desk, name="two", base_url="http://two.example", api_key_env="STORED_KEY")
    assert desk.resolve("one").key == Secret("sk-stored")
    assert desk.resolve("two").key == Secret("sk-variable")
    assert list(desk.stored) == ["one", "two"]


def test_a_stored_provider_stands_before_the_one_of_the_settings(desk: ProviderDesk) -> None:
    store(desk, name="boot", base_url="http://stored.example")
    assert str(desk.resolve("boot").record.base_url) == "http://stored.example"


def test_a_provider_that_is_gone_from_the_file_is_gone(desk: ProviderDesk) -> None:
    store(desk, name="one", base_url="http://one.example")
    desk.loaded([(PATH, Missing())], 0.0)
    with pytest.raises(Refusal):
        desk.resolve("one")


def test_a_file_that_makes_no_sense_leaves_what_was_known(desk: ProviderDesk) -> None:
    store(desk, name="one", base_url="http://one.example")
    before = desk.contents
    with pytest.raises(CorruptFile):
        desk.loaded([(PATH, b"PROVIDER: {\n")], 0.0)
    assert (list(desk.stored), desk.contents) == (["one"], before)


def test_other_settings_describe_another_provider(desk: ProviderDesk) -> None:
    desk.reconfigured(config_of(OPENAI_COMPATIBLE_BASE_URL="http://other.example", ALLOWED_PROVIDER_HOSTS="other"))
    assert str(desk.resolve("boot").record.base_url) == "http://other.example"
