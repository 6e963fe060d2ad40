"""Routers and the command line on one data directory: what one of them revokes, all refuse, and for good."""

import json
import signal
import time
from pathlib import Path

import pytest

from cli.practice import PracticeUpstream
from protocol.identity.tokens import issue as sign
from protocol.values import Secret
from tests.cli.support import SECRET, invoke
from tests.live.administration import ask, ask_json, issue, use
from tests.live.routers import LOOPS, RouterProcess

pytestmark = pytest.mark.slow


HEEDED_WITHIN = 1.0 + 1.0
"""Seconds: one is promised, another is for a machine that is busy."""


def assert_soon_refused(address: str, token: str) -> None:
    """It may still be let in at first."""
    until = time.monotonic() + HEEDED_WITHIN
    while is_let_in(address, token):
        assert time.monotonic() < until


def is_let_in(address: str, token: str) -> bool:
    """Whether a token may ask for the router's own list of models."""
    status, _ = ask(address, "GET", "/v1/models", x_api_key=token)
    assert status in (200, 403)
    return status == 200


def never_recorded() -> tuple[str, str]:
    """A good token of which there is no record, and its id."""
    issued = sign(Secret(SECRET), ttl_hours=1, wall=time.time(), entropy=lambda size: b"\x07" * size)
    return issued.claims.sub, issued.token.reveal()


def by_command(folder: Path, *arguments: str) -> None:
    """Another process of the operator's changes the files."""
    settings = {"TOKEN_SECRET": SECRET, "DATA_DIR": str(folder / "data")}
    result = invoke(["tokens", *arguments], folder, settings)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("loop", LOOPS)
def test_a_revocation_by_another_process_holds_within_a_second_and_for_good(
    loop: str, upstream: PracticeUpstream, tmp_path: Path
) -> None:
    data = {"DATA_DIR": str(tmp_path / "data")}
    stranger_id, stranger = never_recorded()
    with RouterProcess(loop, tmp_path, upstream.origin, **data) as router:
        token_id, token = issue(router.address, label="alice")
        other_id, other = issue(router.address, label="bob")
        assert [is_let_in(router.address, each) for each in (token, other, stranger)] == [True] * 3
        by_command(tmp_path, "revoke", token_id)
        assert_soon_refused(router.address, token)
        by_command(tmp_path, "revoke", stranger)
        assert_soon_refused(router.address, stranger)
        issue(router.address, label="carol")  # which writes the files once more
        records = ask_json(router.address, "GET", "/api/tokens/list")["data"]  # and this reads them
        revoked = {record["id"]: record["revoked"] for record in records}
        assert (revoked[token_id], revoked[other_id], revoked[stranger_id]) == (True, False, True)
        assert [is_let_in(router.address, each) for each in (token, other, stranger)] == [False, True, False]
        router.send_signal(signal.SIGTERM)
        assert router.exit_code() == 0
    with RouterProcess(loop, tmp_path, upstream.origin, **data) as router:
        assert [is_let_in(router.address, each) for each in (token, other, stranger)] == [False, True, False]


def test_two_routers_refuse_what_one_has_revoked_and_add_up_what_was_used(
    upstream: PracticeUpstream, tmp_path: Path
) -> None:
    data = {"DATA_DIR": str(tmp_path / "data")}
    with (
        RouterProcess("trio", tmp_path, upstream.origin, **data) as one,
        RouterProcess("asyncio", tmp_path, upstream.origin, **data) as two,
    ):
        token_id, token = issue(one.address, label="shared")
        revoked_id, revoked = issue(two.address, label="revoked")
        assert [use(router.address, token) for router in (one, two, two)] == [200] * 3
        assert use(two.address, token, "hello\n/error 529") == 529
        ask_json(two.address, "POST", "/api/tokens/revoke", {"id": revoked_id})
        assert not is_let_in(two.address, revoked)
        assert_soon_refused(one.address, revoked)
        for router in (one, two):
            router.send_signal(signal.SIGTERM)
        assert [router.exit_code() for router in (one, two)] == [0, 0]
    usage = json.loads((tmp_path / "data" / "token_usage.json").read_text())["tokens"]
    assert usage[token_id]["requests"] == 4
    assert usage[token_id]["output_tokens"] > 0


@pytest.mark.parametrize("loop", LOOPS)
def test_files_that_make_no_sense_stop_the_start_and_are_left_alone(loop: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, content in (("tokens.lino", b"(token x\n"), ("tokens.bin", b"LARTOK99"), ("token_usage.json", b"[]")):
        path = tmp_path / "data" / name
        path.write_bytes(content)
        settings = {"TOKEN_SECRET": SECRET, "DATA_DIR": str(tmp_path / "data"), "ROUTER_PORT": "0"}
        result = invoke(["serve", "--transport", loop], tmp_path, settings)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines()[-1].startswith(f"Error: {path}, ")
        assert path.read_bytes() == content
        path.unlink()
