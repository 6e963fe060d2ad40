"""A running router takes over other settings: for new requests, and without touching running ones."""

from dataclasses import replace

import pytest

from protocol.commands import Log, LogLevel
from protocol.config import Config, Strategy
from tests.support.requests import EVENT, REPLY, chunk
from tests.support.scene import Scene

LOGIN = b'{"accessToken": "sk-ant-oat01-%s"}'


def reload(scene: Scene, **changes: object) -> None:
    config: Config = replace(scene.shell.gateway._config, **changes)  # type: ignore[arg-type]
    scene.shell.reload(config)


def bearer(scene: Scene) -> bytes:
    """With which account the next request goes out."""
    asking = scene.client().posts()
    upstream = scene.upstream()
    found = upstream.got()[b"authorization"].removeprefix(b"Bearer sk-ant-oat01-")
    upstream.replies(REPLY, b"200 OK", b"Connection: close")
    asking.saw(200, REPLY)
    return found


def test_nothing_changed_means_nothing_said(scene: Scene) -> None:
    before = len(scene.shell.logs)
    reload(scene)
    assert len(scene.shell.logs) == before


def test_a_stream_goes_on_while_the_settings_change(scene: Scene) -> None:
    client, upstream = scene.streaming()
    reload(scene, disable_anthropic_api=True, sse_keepalive_secs=1.0)
    upstream.sends(chunk(EVENT))
    assert client.exactly(len(chunk(EVENT))) == chunk(EVENT)
    scene.client().posts().saw(404)


def test_an_account_that_is_added_is_used_and_one_that_is_removed_is_not(scene: Scene) -> None:
    scene.shell.files["/more/credentials.json"] = LOGIN % b"more"
    reload(scene, additional_account_dirs=("/more",), account_routing_strategy=Strategy.ROUND_ROBIN)
    assert {bearer(scene) for _ in range(4)} == {b"the-operators-own", b"more"}
    reload(scene, additional_account_dirs=())
    assert {bearer(scene) for _ in range(3)} == {b"the-operators-own"}


def test_a_request_with_an_account_that_goes_meanwhile_is_finished_with_it(scene: Scene) -> None:
    scene.shell.files["/more/credentials.json"] = LOGIN % b"more"
    reload(
        scene, additional_account_dirs=("/more",), account_routing_strategy=Strategy.PRIORITY, claude_code_home="/no"
    )
    client = scene.client().posts()
    upstream = scene.upstream()
    reload(scene, additional_account_dirs=(), claude_code_home="/home")
    upstream.got()
    upstream.replies()
    client.saw(200, REPLY)
    scene.assert_faultless()


def test_a_home_that_changes_brings_its_own_login(scene: Scene) -> None:
    scene.shell.files["/other/credentials.json"] = LOGIN % b"other"
    reload(scene, claude_code_home="/other")
    assert bearer(scene) == b"other"


def test_what_the_accounts_have_done_is_not_forgotten(scene: Scene) -> None:
    bearer(scene)
    reload(scene, account_request_limits=(("primary", 1),))
    scene.client().posts().saw(429)


@pytest.mark.parametrize("name", ["port", "data_dir", "oauth_client_id"])
def test_what_cannot_be_changed_stays_and_is_told(scene: Scene, name: str) -> None:
    before = getattr(scene.shell.gateway._config, name)
    reload(scene, **{name: 1 if name == "port" else "/elsewhere"})
    assert getattr(scene.shell.gateway._config, name) == before
    warning: Log = scene.logs("takes effect with the next start")[-1]
    assert warning.level is LogLevel.WARN


def test_the_settings_of_a_provider_change_too(scene: Scene) -> None:
    reload(scene, openai_compatible_model="other")
    assert scene.shell.gateway._providers.providers.records()["litellm"].default_model == "other"
