"""Two routers change the tokens that they share, each from a book that knows nothing of the other's last changes."""

import json
import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from protocol.config import StoragePolicy
from protocol.files import FilesLoaded
from protocol.identity.ledger import Ledger
from protocol.identity.token_files import read_tokens, token_files
from protocol.identity.token_record import TokenRecord, expiration, issuance, revocation
from protocol.identity.token_usage import UsageBook, read_usage, usage_of
from protocol.identity.tokens import Claims
from protocol.values import Tokens
from transports.data_files import update
from transports.disk import load

WALL: Final = 1_700_000_000
MUTATIONS: Final = 500
"""Of each of two processes."""

pytestmark = pytest.mark.slow


class Router:
    """One process: what it changed, and was told is lasting."""

    def __init__(self, name: str, data_dir: str) -> None:
        self.name = name
        self.files = token_files(StoragePolicy.BOTH, data_dir)
        self.ledger = Ledger()
        self.usage = UsageBook()
        self.chance = Random(name)  # the same in every run
        self.done: dict[str, Any] = {"issued": [], "revoked": [], "ended": [], "requests": {}}

    def mutate(self, turn: int) -> None:
        ids = sorted(self.ledger.ids)
        # Of the later turns most are changes of what is there, as often the other's as its own.
        kind = "issued" if turn % 8 == 0 or not ids else self.chance.choice(["revoked", "ended", "used", "used"])
        token_id = f"{self.name}-{turn}" if kind == "issued" else self.chance.choice(ids)
        match kind:
            case "issued":
                self.change(issuance(Claims(token_id, WALL, WALL + 3600)))
            case "revoked":
                self.change(revocation(token_id))
            case "ended":
                self.change(expiration(token_id, WALL + 1))
            case _:
                self.count(token_id)
                return
        self.done[kind].append(token_id)

    def change(self, change: TokenRecord) -> None:
        self.ledger.apply(change)
        result = update(self.files.lock, self.files.records, self.ledger.saving(WALL))
        assert isinstance(result, FilesLoaded), result
        self.ledger.loaded(result.files, WALL)
        assert not self.ledger.unsaved

    def count(self, token_id: str) -> None:
        self.usage.add(token_id, usage_of(Tokens(input=1), WALL), 0.0)
        result = update(self.files.lock, self.files.usage, self.usage.saving(known=self.ledger.ids, wall=WALL))
        assert isinstance(result, FilesLoaded), result
        self.usage.saved(result.files)
        requests = self.done["requests"]
        requests[token_id] = requests.get(token_id, 0) + 1


def run_router(name: str, data_dir: str, start: Barrier) -> None:
    router = Router(name, data_dir)
    start.wait()
    for turn in range(MUTATIONS):
        router.mutate(turn)
    Path(data_dir, f"{name}.json").write_text(json.dumps(router.done))


def test_nothing_that_two_routers_write_is_lost_or_revived(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    routers = [context.Process(target=run_router, args=(name, str(tmp_path), start)) for name in ("left", "right")]
    for router in routers:
        router.start()
    revoked: set[str] = set()
    looks = 0
    for book in books_seen(tmp_path, routers):
        now_revoked = {record.id for record in book.values() if record.revoked}
        assert revoked <= now_revoked, "revived while nobody was looking"
        revoked, looks = now_revoked, looks + 1
    assert [router.exitcode for router in routers] == [0, 0]
    assert looks > 10

    left, right = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("left", "right"))
    files = token_files(StoragePolicy.BOTH, str(tmp_path))
    books = [read_tokens([file]) for file in held(files.records).files]
    assert books[0] == books[1]
    book = books[0]
    assert book.keys() == {*left["issued"], *right["issued"]}
    assert {record.id for record in book.values() if record.revoked} == {*left["revoked"], *right["revoked"]}
    ended = {
        record.id for record in book.values() if record.expires_at == WALL + 1 and record.signed_until == WALL + 3600
    }
    assert ended == {*left["ended"], *right["ended"]}
    assert set(left["revoked"]) & set(right["issued"]), "they did change each other's"
    assert {token_id: usage.requests for token_id, usage in read_usage(held(files.usage).files).items()} == {
        token_id: left["requests"].get(token_id, 0) + right["requests"].get(token_id, 0)
        for token_id in left["requests"].keys() | right["requests"].keys()
    }


def books_seen(data_dir: Path, routers: list[Any]) -> Iterator[dict[str, TokenRecord]]:
    """What somebody without the lock reads while the routers run."""
    paths = token_files(StoragePolicy.BOTH, str(data_dir)).records
    while any(router.is_alive() for router in routers):
        yield read_tokens(held(paths).files)
        for router in routers:
            router.join(0.01)


def held(paths: tuple[str, ...]) -> FilesLoaded:
    files = load(paths, None)
    assert isinstance(files, FilesLoaded)
    return files
