import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.output import ConfigurationError, RuntimeFailure
from cli.secret_file import create_whole, token_secret
from protocol.commands import Log, LogLevel
from protocol.config import Config
from protocol.values import Secret
from tests.cli.support import SECRET, start


class Reports(list[Log]):
    """What was reported, in order."""

    def events(self, level: LogLevel) -> list[str]:
        return [log.event for log in self if log.level is level]


def settled(config: Config) -> tuple[str, Reports]:
    reports = Reports()
    return token_secret(config, reports.append).reveal(), reports


def secret_in(folder: Path, content: bytes, mode: int = 0o600) -> Config:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return Config(token_secret_file=str(path), data_dir=str(folder))


def test_a_given_secret_is_taken_first(tmp_path: Path) -> None:
    config = Config(token_secret=Secret(SECRET), token_secret_file=str(tmp_path / "gone"), data_dir=str(tmp_path))
    assert settled(config) == (SECRET, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"])
def test_a_secret_file_may_end_in_a_line_end(line_end: bytes, tmp_path: Path) -> None:
    assert settled(secret_in(tmp_path, SECRET.encode() + line_end)) == (SECRET, [])


def test_blanks_in_a_secret_file_belong_to_the_secret(tmp_path: Path) -> None:
    assert settled(secret_in(tmp_path, f" {SECRET} \n".encode()))[0] == f" {SECRET} "


@pytest.mark.parametrize(("content", "problem"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not UTF-8")])
def test_a_secret_file_without_a_secret_is_an_error(content: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        settled(secret_in(tmp_path, content))


def test_a_missing_secret_file_is_an_error_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        settled(Config(token_secret_file=str(tmp_path / "gone"), data_dir=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_others_may_read_is_warned_about(tmp_path: Path) -> None:
    _, reports = settled(secret_in(tmp_path, SECRET.encode(), mode=0o644))
    assert reports.events(LogLevel.WARN) == [
        f"Other users of this machine may open the token secret in {tmp_path / 'secret'}"
    ]


@pytest.mark.parametrize(("secret", "weak"), [("x" * 31, True), ("x" * 32, False), ("é" * 16, False)])
def test_a_secret_under_32_bytes_is_taken_with_a_warning(secret: str, weak: bool) -> None:
    taken, reports = settled(Config(token_secret=Secret(secret)))
    assert taken == secret
    assert len(reports.events(LogLevel.WARN)) == weak


def test_without_a_secret_one_is_made_and_kept(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path / "a/data"))
    secret, reports = settled(config)
    path = tmp_path / "a/data/token_secret"
    assert len(bytes.fromhex(secret)) == 32
    assert path.read_text() == f"{secret}\n"
    assert reports.events(LogLevel.INFO) == [
        f"Made a token secret and keep it in {path}; tokens are valid as long as it is"
    ]
    assert settled(config) == (secret, [])


def test_only_the_owner_can_open_what_is_kept(tmp_path: Path) -> None:
    settled(Config(data_dir=str(tmp_path / "data")))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data", tmp_path / "data/token_secret")]
    assert modes == [0o700, 0o600]


def test_nothing_else_is_left_behind(tmp_path: Path) -> None:
    settled(Config(data_dir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["token_secret"]


def test_a_secret_that_was_lost_is_not_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "token_secret").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is empty"):
        settled(Config(data_dir=str(tmp_path)))


def test_a_place_that_cannot_be_written_is_a_failure_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RuntimeFailure, match="set TOKEN_SECRET, or DATA_DIR"):
        settled(Config(data_dir=str(tmp_path / "file/data")))


def test_a_file_is_created_once_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert [create_whole(path, content) for content in (b"first", b"second")] == [True, False]
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"first")]


@pytest.mark.slow
def test_processes_that_start_at_once_end_with_the_same_secret(tmp_path: Path) -> None:
    processes = [start(("tokens", "issue"), tmp_path, {"DATA_DIR": str(tmp_path / "data")}) for _ in range(4)]
    outcomes = [(process.communicate(), process.returncode) for process in processes]
    assert [code for _, code in outcomes] == [0, 0, 0, 0]
    assert sum(b"Made a token secret" in stderr for (_, stderr), _ in outcomes) == 1
    kept = {path.name for path in (tmp_path / "data").iterdir()}
    assert kept == {"token_secret", "tokens.bin", "tokens.lino", "tokens.lock"}


def test_of_many_who_create_a_file_at_once_one_does(tmp_path: Path) -> None:
    path, together = tmp_path / "file", threading.Barrier(8)
    contents = [bytes([number]) * 4096 for number in range(8)]

    def create(content: bytes) -> bool:
        together.wait()
        return create_whole(path, content)

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, contents))
    assert sum(created) == 1
    assert path.read_bytes() == contents[created.index(True)]
