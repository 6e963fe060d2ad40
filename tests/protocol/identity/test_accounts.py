"""The operator's accounts: which credential is in use, how fresh it is, and what the log is told about it."""

import pytest

from protocol.files import FileContent, FilesLoaded, FilesUnchanged, Missing, Unreadable
from protocol.identity.accounts import RECHECK_SECONDS, Account
from protocol.identity.credentials import CREDENTIAL_FILES, from_api_key

KEY = from_api_key("sk-ant-api03-key")


def found(**files: FileContent) -> FilesLoaded:
    """What the shell reports for these files, in the order of the search."""
    paths = [f"/home/{name}" for name in CREDENTIAL_FILES]
    contents = {f"/home/{name}.json".replace("/dot_", "/."): content for name, content in files.items()}
    return FilesLoaded([(path, contents.get(path, Missing())) for path in paths], "fingerprint")


def session(token: str) -> bytes:
    return b'{"accessToken": "sk-ant-oat01-%s"}' % token.encode()


def token_of(account: Account) -> str | None:
    return None if account.credential is None else account.credential.token.reveal()


def test_the_files_lie_in_the_home_directory() -> None:
    assert Account("primary", "/home/").paths == [f"/home/{name}" for name in CREDENTIAL_FILES]


def test_a_check_is_fresh_for_a_second() -> None:
    account = Account("primary", "/home")
    assert not account.fresh(0.0)
    account.checked(FilesUnchanged(), 0.0, now=10.0)
    assert account.fresh(9.0), "a request may have begun before the check was over"
    assert account.fresh(10.0 + RECHECK_SECONDS - 0.01)
    assert not account.fresh(10.0 + RECHECK_SECONDS)


def test_what_is_found_is_used_and_told_once() -> None:
    account = Account("primary", "/home")
    told = [account.checked(found(credentials=session("a")), 0.0, now) for now in (0.0, 1.0)]
    assert told == [["account primary uses the credential from /home/credentials.json"], []]
    assert token_of(account) == "sk-ant-oat01-a"
    assert account.fingerprint == "fingerprint"


def test_another_credential_or_another_file_is_told() -> None:
    account = Account("primary", "/home")
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    assert len(account.checked(found(credentials=session("b")), 0.0, 1.0)) == 1
    assert account.checked(found(auth=session("b")), 0.0, 2.0) == [
        "account primary uses the credential from /home/auth.json"
    ]


def test_unchanged_files_change_nothing_and_are_not_told() -> None:
    account = Account("primary", "/home")
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    assert account.checked(FilesUnchanged(), 0.0, 5.0) == []
    assert token_of(account) == "sk-ant-oat01-a"


def test_without_a_file_the_api_key_is_used() -> None:
    account = Account("primary", "/home", api_key=KEY)
    assert account.credential is KEY
    assert account.checked(found(), 0.0, 0.0) == ["account primary uses the credential from ANTHROPIC_API_KEY"]
    assert account.credential is KEY


def test_a_file_comes_before_the_api_key_and_the_key_is_there_when_the_file_has_gone() -> None:
    account = Account("primary", "/home", api_key=KEY)
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    assert token_of(account) == "sk-ant-oat01-a"
    account.checked(found(), 0.0, 1.0)
    assert account.credential is KEY


UNUSABLE = [b"{", b"", b"[]", b'{"accessToken": "sk-ant-ort01-x"}', Unreadable("Permission denied")]


@pytest.mark.parametrize("content", UNUSABLE)
def test_a_file_that_becomes_unusable_leaves_the_credential_it_had_and_says_so(content: FileContent) -> None:
    """Most likely it is being written at this moment."""
    account = Account("primary", "/home", api_key=KEY)
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    told = account.checked(found(credentials=content), 0.0, 1.0)
    assert told[0].startswith("/home/credentials.json: ")
    assert told[1:] == ["account primary keeps the credential it had"]
    assert token_of(account) == "sk-ant-oat01-a"
    assert account.checked(FilesUnchanged(), 0.0, 1.5) == [], "once said is enough"
    assert account.checked(found(credentials=session("b")), 0.0, 2.0) == [
        "account primary uses the credential from /home/credentials.json"
    ]
    assert token_of(account) == "sk-ant-oat01-b"


@pytest.mark.parametrize("content", UNUSABLE)
def test_a_file_that_was_never_usable_leaves_nothing_and_says_so(content: FileContent) -> None:
    account = Account("primary", "/home")
    assert account.checked(found(credentials=content), 0.0, 1.0)[-1] == "account primary has no usable credential"
    assert account.credential is None
    assert account.fingerprint == "fingerprint", "it is not read again until it changes"


def test_an_unusable_file_does_not_take_the_api_key_away() -> None:
    account = Account("primary", "/home", api_key=KEY)
    account.checked(found(), 0.0, 0.0)
    account.checked(found(credentials=b"{"), 0.0, 1.0)
    assert account.credential is KEY


@pytest.mark.parametrize("content", [Missing(), b"{}", b'{"accessToken": 7}'])
def test_a_file_without_a_login_is_a_logout(content: FileContent) -> None:
    account = Account("primary", "/home")
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    assert account.checked(found(credentials=content), 0.0, 1.0) == ["account primary has no usable credential"]
    assert account.credential is None


def test_a_credential_is_usable_until_its_time_is_over() -> None:
    account = Account("primary", "/home")
    assert not account.usable(0.0)
    account.checked(found(credentials=session("a")), 0.0, 0.0)
    assert account.usable(4e9), "nobody knows when this one expires"
    account.checked(found(credentials=b'{"accessToken": "sk-ant-oat01-b", "expiresAt": 100}'), 50.0, 1.0)
    assert account.usable(99.9)
    assert not account.usable(100.0)
