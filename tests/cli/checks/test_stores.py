import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.checks.findings import Severity
from cli.checks.stores import directory_check
from protocol.config import Config
from tests.cli.checks.support import Seen, examined
from tests.cli.support import SECRET, invoke

TOKEN = (
    '(token 550e8400-e29b-41d4-a716-446655440000 (label "my-token") (issued_at 1710806400) (expires_at 4710892800) '
    "(revoked false))\n"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def write(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


# --- the directory ----------------------------------------------------------------------------------------------------


def test_a_directory_that_is_still_to_be_made_is_not_made_by_looking(tmp_path: Path) -> None:
    assert examined(tmp_path)["data_dir"] == Seen("will be created on first write", "ok", [])
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("mode", "status"), [(0o700, "ok"), (0o755, "ok"), (0o777, "failed"), (0o720, "failed")])
def test_nobody_else_may_write_into_the_directory(mode: int, status: str, data: Path, tmp_path: Path) -> None:
    data.chmod(mode)
    seen = examined(tmp_path)["data_dir"]
    assert (seen.value, seen.status) == (f"present (mode {mode:04o})", status)


def test_a_file_in_the_place_of_the_directory_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert directory_check(Config(data_dir=str(tmp_path / "data"))).findings[0].message.endswith("is not a directory")
    below = directory_check(Config(data_dir=str(tmp_path / "data/below")))
    assert (below.value, below.status) == ("unusable", "failed")


@pytest.fixture
def of_others() -> Iterator[Path]:
    """A directory, and we are a user to whom it does not belong."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
            yield path
            os.seteuid(0)
        else:
            yield path


def test_a_directory_that_cannot_be_written_is_a_failure(of_others: Path) -> None:
    here, below = (directory_check(Config(data_dir=str(path))) for path in (of_others, of_others / "a/b"))
    assert [finding.severity for finding in (*here.findings, *below.findings)] == [Severity.FAILURE] * 2
    assert "this user may not write into" in here.findings[0].message
    assert f"cannot be created in {of_others}" in below.findings[0].message


# --- the token store --------------------------------------------------------------------------------------------------


def test_stores_without_a_file_are_empty(tmp_path: Path) -> None:
    seen = examined(tmp_path)
    for label, name in (
        ("lino store", "tokens.lino"),
        ("binary store", "tokens.bin"),
        ("usage store", "token_usage.json"),
        ("provider store", "providers.lenv"),
    ):
        assert seen[label] == Seen(f"{tmp_path}/data/{name} (<empty>)", "ok", [])


@pytest.mark.parametrize(
    ("policy", "labels"),
    [
        ("memory", set()),
        ("text", {"lino store", "usage store"}),
        ("binary", {"binary store", "usage store"}),
        ("both", {"lino store", "binary store", "usage store"}),
    ],
)
def test_only_the_stores_of_the_policy_are_looked_at(policy: str, labels: set[str], tmp_path: Path) -> None:
    seen = examined(tmp_path, STORAGE_POLICY=policy)
    assert {label for label in seen if label.endswith(" store")} == {*labels, "provider store"}


def test_a_store_says_how_much_it_holds(data: Path, tmp_path: Path) -> None:
    write(data / "tokens.lino", TOKEN)
    write(data / "token_usage.json", json.dumps({"tokens": {"a": {"requests": 1}, "b": {"requests": 1}}}))
    seen = examined(tmp_path)
    assert seen["lino store"] == Seen(f"{data}/tokens.lino (present, 1 token)", "ok", [])
    assert seen["usage store"] == Seen(f"{data}/token_usage.json (present, 2 tokens)", "ok", [])


@pytest.mark.parametrize(
    ("name", "label", "content", "place"),
    [
        ("tokens.lino", "lino store", TOKEN + "(token", "line 2"),
        ("tokens.bin", "binary store", "LARTOK02", "byte 0"),
        ("token_usage.json", "usage store", "{", "byte 0"),
        ("providers.lenv", "provider store", "# x\nPROVIDER: {", "line 2"),
    ],
)
def test_a_store_that_cannot_be_understood_is_a_failure_that_names_the_place(
    name: str, label: str, content: str, place: str, data: Path, tmp_path: Path
) -> None:
    path = write(data / name, content)
    seen = examined(tmp_path)[label]
    assert (seen.value, seen.status) == (f"{path} (present, UNREADABLE)", "failed")
    assert seen.findings[0].startswith(f"{path}, {place}")


@pytest.mark.parametrize("name", ["tokens.lino", "providers.lenv"])
def test_a_store_that_others_may_read_is_warned_about(name: str, data: Path, tmp_path: Path) -> None:
    path = write(data / name, TOKEN if name == "tokens.lino" else "# nothing\n", mode=0o644)
    found = [finding for seen in examined(tmp_path).values() for finding in seen.findings]
    assert found == [f"other users of this machine may open {path} (mode 0644); try `chmod 600` on it"]


def test_a_store_that_the_policy_leaves_aside_is_warned_about(data: Path, tmp_path: Path) -> None:
    path = write(data / "tokens.lino", TOKEN)
    seen = examined(tmp_path, STORAGE_POLICY="binary")["data_dir"]
    assert seen.findings == [f"{path} is there, but not read with STORAGE_POLICY binary"]


# --- providers --------------------------------------------------------------------------------------------------------


def add_provider(folder: Path, *arguments: str, secret: str = SECRET) -> None:
    settings = {"DATA_DIR": str(folder / "data"), "TOKEN_SECRET": secret}
    result = invoke(["providers", "add", "--base-url", "http://l:1/v1", *arguments], folder, settings)
    assert result.exit_code == 0, result.stderr


def test_keys_that_open_are_fine(tmp_path: Path) -> None:
    add_provider(tmp_path, "--name", "a", "--api-key", "sk-1")
    add_provider(tmp_path, "--name", "b", "--api-key", "sk-1", "--envelope", "v1")
    assert examined(tmp_path)["provider store"] == Seen(
        f"{tmp_path}/data/providers.lenv (present, 2 providers)", "ok", []
    )


@pytest.mark.parametrize("envelope", ["v1", "v2"])
def test_a_key_that_was_sealed_under_another_secret_is_warned_about(envelope: str, tmp_path: Path) -> None:
    add_provider(tmp_path, "--name", "a", "--api-key", "sk-1", "--envelope", envelope, secret="another")
    seen = examined(tmp_path)["provider store"]
    assert seen.status == "warning"
    assert seen.findings[0].startswith("the stored key of provider 'a' cannot be opened: it was sealed under another")


def test_keys_without_a_secret_are_warned_about(tmp_path: Path) -> None:
    add_provider(tmp_path, "--name", "a", "--api-key", "sk-1")
    assert examined(tmp_path, TOKEN_SECRET="")["provider store"].status == "warning"


@pytest.mark.parametrize(
    ("arguments", "status", "finding"),
    [
        (["--name", "other"], "ok", None),
        (["--name", "litellm", "--api-key", "sk-1"], "ok", None),
        (["--name", "litellm", "--api-key-env", "SURELY_NOT_SET"], "warning", "SURELY_NOT_SET has no key"),
        (["--name", "litellm", "--enabled", "no"], "failed", "provider 'litellm' is disabled"),
    ],
)
def test_the_provider_in_use_has_to_be_one_that_can_be_asked(
    arguments: list[str], status: str, finding: str | None, tmp_path: Path
) -> None:
    add_provider(tmp_path, *arguments)
    seen = examined(tmp_path, UPSTREAM_PROVIDER="openai-compatible")["provider store"]
    assert (seen.status, len(seen.findings)) == (status, finding is not None)
    assert finding is None or seen.findings[0].endswith(finding)


def test_the_provider_in_use_fails_with_its_key(tmp_path: Path) -> None:
    add_provider(tmp_path, "--name", "litellm", "--api-key", "sk-1", secret="another")
    assert examined(tmp_path, UPSTREAM_PROVIDER="litellm")["provider store"].status == "failed"


def test_a_key_in_a_variable_is_not_missed_while_the_provider_is_not_used(tmp_path: Path) -> None:
    add_provider(tmp_path, "--name", "litellm", "--api-key-env", "NOT_SET")
    assert examined(tmp_path)["provider store"].status == "ok"
