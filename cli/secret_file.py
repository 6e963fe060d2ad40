"""The key that signs tokens: given as a setting, kept in a file, or made once and kept."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cli.output import ConfigurationError, Report, RuntimeFailure
from protocol.commands import Log, LogLevel
from protocol.config import Config
from protocol.identity.tokens import STRONG_SECRET_BYTES, weak_secret
from protocol.values import Secret

FILE_NAME: Final = "token_secret"


def token_secret(config: Config, report: Report) -> Secret:
    """``TOKEN_SECRET``, else the content of ``TOKEN_SECRET_FILE``, else of ``token_secret`` in the data directory.

    The last is made when it is missing, by one process only however many start at once: all get the same secret.

    :raises ConfigurationError: the file is missing, empty or unreadable.
    :raises RuntimeFailure: the file cannot be made.
    """
    if config.token_secret is not None:
        secret = config.token_secret
    elif config.token_secret_file is not None:
        secret = read_secret(Path(config.token_secret_file), report)
    else:
        path = Path(config.data_dir, FILE_NAME)
        if not path.exists():
            keep_new_secret(path, report)
        secret = read_secret(path, report)
    if weak_secret(secret):
        weak = "The token secret is shorter than 32 bytes and may be guessed; `openssl rand -hex 32` makes a good one"
        report(Log(LogLevel.WARN, weak, {}))
    return secret


def read_secret(path: Path, report: Report) -> Secret:
    """The file's text without the line end that editors and ``echo`` put after it."""
    try:
        with path.open("rb") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            text = file.read().decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"cannot read the token secret in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the token secret in {path} is not UTF-8 text") from None
    if not text:
        raise ConfigurationError(f"the token secret in {path} is empty")
    if others:
        report(Log(LogLevel.WARN, f"Other users of this machine may open the token secret in {path}", {}))
    return Secret(text)


def keep_new_secret(path: Path, report: Report) -> None:
    """Make a secret of 256 bits, unless another process is faster."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        created = create_whole(path, secrets.token_hex(STRONG_SECRET_BYTES).encode() + b"\n")
    except OSError as error:
        raise RuntimeFailure(
            f"cannot keep a token secret in {path}: {error.strerror}; set TOKEN_SECRET, or DATA_DIR to a place to write"
        ) from None
    if created:
        report(Log(LogLevel.INFO, f"Made a token secret and keep it in {path}; tokens are valid as long as it is", {}))


def create_whole(path: Path, content: bytes) -> bool:
    """Create a file of mode 0600 that nobody ever sees empty or in part; False if there is one already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, this fails where there is a file
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_directory(path.parent)
    return True


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
