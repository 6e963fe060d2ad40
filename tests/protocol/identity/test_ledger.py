import pytest

from protocol.config import StoragePolicy
from protocol.errors import Refusal
from protocol.files import Contents, CorruptFile, FileContent, Missing, Update
from protocol.identity.ledger import Ledger
from protocol.identity.token_files import saving, token_files
from protocol.identity.token_record import TokenRecord, expiration, issuance, revocation
from protocol.identity.tokens import Claims

WALL = 1_700_000_000.0
DAY = 86400.0
PATHS = token_files(StoragePolicy.BOTH, "/data").records
CLAIMS = Claims("id", int(WALL), int(WALL + DAY), "alice", "work")


class Disk:
    """Files as other processes see them."""

    def __init__(self) -> None:
        self.contents: dict[str, FileContent] = dict.fromkeys(PATHS, Missing())

    @property
    def files(self) -> Contents:
        return list(self.contents.items())

    def carry_out(self, update: Update) -> Contents:
        self.contents.update(update(self.files))
        return self.files

    def save(self, ledger: Ledger, wall: float = WALL) -> None:
        ledger.loaded(self.carry_out(ledger.saving(wall)), wall)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def refused(ledger: Ledger, wall: float = WALL) -> tuple[int, str, str] | None:
    try:
        ledger.admit(CLAIMS, wall)
    except Refusal as refusal:
        return refusal.status, refusal.kind, refusal.message
    return None


def unsaved(ledger: Ledger) -> bool:
    return ledger.unsaved


REVOKED = (403, "permission_error", "Token has been revoked")
EXPIRED = (401, "authentication_error", "Token has expired")


def test_a_token_without_a_record_stands_for_itself() -> None:
    assert Ledger().admit(CLAIMS, WALL) == issuance(CLAIMS)


def test_a_token_with_a_record_has_its_limits() -> None:
    ledger = Ledger()
    record = ledger.apply(issuance(CLAIMS, max_requests=3))
    assert ledger.admit(CLAIMS, WALL) == record == ledger.find("id")
    assert record.max_requests == 3


def test_a_revoked_token_is_refused_at_once_and_for_good() -> None:
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    assert refused(ledger) is None
    assert ledger.apply(revocation("id")).revoked
    assert refused(ledger) == REVOKED
    ledger.apply(issuance(CLAIMS))
    assert refused(ledger) == REVOKED


def test_a_token_that_was_never_recorded_can_be_revoked() -> None:
    ledger = Ledger()
    ledger.apply(revocation("id"))
    assert refused(ledger) == REVOKED


def test_a_token_that_was_ended_is_refused_from_then_on() -> None:
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    ledger.apply(expiration("id", WALL + 10))
    assert refused(ledger, WALL + 9.9) is None
    assert refused(ledger, WALL + 10) == EXPIRED
    ledger.apply(expiration("id", WALL))
    assert refused(ledger, WALL) == EXPIRED


def test_a_token_that_was_never_recorded_can_be_ended() -> None:
    ledger = Ledger()
    ledger.apply(expiration("id", WALL))
    assert refused(ledger) == EXPIRED


def test_records_are_listed_from_the_oldest() -> None:
    ledger = Ledger()
    for token_id, issued_at in [("c", 2), ("b", 1), ("a", 2)]:
        ledger.apply(TokenRecord(token_id, issued_at=issued_at))
    assert [record.id for record in ledger.records()] == ["b", "a", "c"]
    assert sorted(ledger.ids) == ["a", "b", "c"]


# --- keeping ----------------------------------------------------------------------------------------------------------


def test_a_change_is_unsaved_until_the_files_hold_it(disk: Disk) -> None:
    ledger = Ledger()
    assert not unsaved(ledger)
    ledger.apply(issuance(CLAIMS))
    assert unsaved(ledger)
    disk.save(ledger)
    assert not unsaved(ledger)
    ledger.apply(issuance(CLAIMS))
    assert not unsaved(ledger), "it says nothing new"
    ledger.apply(revocation("id"))
    assert unsaved(ledger)


def test_without_files_nothing_is_unsaved() -> None:
    ledger = Ledger(kept=False)
    ledger.apply(issuance(CLAIMS))
    assert not unsaved(ledger)


def test_the_next_run_knows_what_was_saved(disk: Disk) -> None:
    first = Ledger()
    first.apply(issuance(CLAIMS, token_budget=7))
    first.apply(revocation("other"))
    disk.save(first)
    second = Ledger()
    second.loaded(disk.files, WALL)
    assert second.records() == first.records()
    assert not unsaved(second)


def test_a_change_made_during_a_save_stays_unsaved(disk: Disk) -> None:
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    update = ledger.saving(WALL)
    ledger.apply(revocation("id"))
    ledger.loaded(disk.carry_out(update), WALL)
    assert refused(ledger) == REVOKED
    assert unsaved(ledger)
    disk.save(ledger)
    assert not unsaved(ledger)


def test_what_others_revoke_is_refused_after_the_next_look(disk: Disk) -> None:
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    disk.save(ledger)
    files = disk.carry_out(saving([revocation("id")], WALL))
    assert refused(ledger) is None
    ledger.loaded(files, WALL)
    assert refused(ledger) == REVOKED
    assert not unsaved(ledger)


def test_a_save_keeps_what_others_wrote_and_this_one_has_not_seen(disk: Disk) -> None:
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    disk.save(ledger)
    disk.carry_out(saving([revocation("id"), issuance(Claims("new", 1, 2 * int(WALL)))], WALL))
    ledger.apply(issuance(Claims("mine", 1, 2 * int(WALL))))
    disk.save(ledger)
    assert refused(ledger) == REVOKED
    assert set(ledger.ids) == {"id", "mine", "new"}


def test_a_revocation_that_a_file_lost_is_put_back(disk: Disk) -> None:
    """The original router writes what it remembers over what others revoked."""
    ledger = Ledger()
    ledger.apply(issuance(CLAIMS))
    disk.save(ledger)
    before = dict(disk.contents)
    ledger.apply(revocation("id"))
    disk.save(ledger)
    disk.contents = before
    ledger.loaded(disk.files, WALL)
    assert refused(ledger) == REVOKED
    assert unsaved(ledger)
    disk.save(ledger)
    fresh = Ledger()
    fresh.loaded(disk.files, WALL)
    assert refused(fresh) == REVOKED


def test_a_corrupt_file_leaves_the_book_as_it_is(disk: Disk) -> None:
    ledger = Ledger()
    ledger.apply(revocation("id"))
    with pytest.raises(CorruptFile):
        ledger.loaded([(PATHS[0], b"(")], WALL)
    assert refused(ledger) == REVOKED
    assert unsaved(ledger)


# --- purging ----------------------------------------------------------------------------------------------------------


def test_tokens_that_ended_long_ago_are_forgotten_everywhere(disk: Disk) -> None:
    ledger = Ledger(keep_seconds=2 * DAY)
    ledger.apply(issuance(CLAIMS))
    disk.save(ledger)
    disk.save(ledger, WALL + 3 * DAY - 1)
    assert ledger.find("id") is not None
    disk.save(ledger, WALL + 3 * DAY)
    assert ledger.find("id") is None
    assert not unsaved(ledger)
    fresh = Ledger()
    fresh.loaded(disk.files, WALL)
    assert fresh.records() == []


def test_a_book_without_files_forgets_too() -> None:
    ledger = Ledger(kept=False, keep_seconds=DAY)
    ledger.apply(issuance(CLAIMS))
    ledger.purge(WALL + 2 * DAY)
    assert ledger.records() == []


@pytest.mark.parametrize(("change", "refusal"), [(revocation("id"), REVOKED), (expiration("id", WALL), EXPIRED)])
def test_a_clock_that_was_wrong_for_a_moment_brings_no_token_back(
    change: TokenRecord, refusal: tuple[int, str, str], disk: Disk
) -> None:
    ledger = Ledger(keep_seconds=0.0)
    ledger.apply(issuance(CLAIMS))
    ledger.apply(change)
    disk.save(ledger)
    ledger.purge(WALL + 100_000 * DAY)
    disk.save(ledger, WALL + 100_000 * DAY)
    fresh = Ledger(keep_seconds=0.0)
    fresh.loaded(disk.files, WALL + 100_000 * DAY)
    for book in (ledger, fresh):
        assert refused(book, WALL + 1) == refusal
