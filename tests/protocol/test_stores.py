"""Books and their files are kept in step: what others write is read, what the files lack is written, nothing spins."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from protocol.commands import AppendFile, Command, JobResult, LoadFiles, LogLevel, UpdateFiles
from protocol.config import Config
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FilesLoaded, FilesUnchanged, Update, UpdateFailed
from protocol.identity.token_desk import TokenDesk
from protocol.identity.token_record import TokenRecord, revocation
from protocol.identity.token_usage import FLUSH_SECONDS, RETRY_SECONDS, read_usage, usage_of
from protocol.stores import MOST_UNWRITTEN_BYTES, POLL_SECONDS, AuditLog, OnChanged, StoreKeeper, UsageKeeper
from protocol.stores import RETRY_SECONDS as SHARE_AGAIN_SECONDS
from protocol.timers import Timers
from protocol.values import JobId, Secret, Tokens

PATH = "/data/book"


class House:
    """Keeps what is ordered until the test says how it went."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wall = 1_700_000_000.0
        self.timers = Timers()
        self.orders: list[tuple[Command, Callable[[JobResult], None]]] = []
        self.logs: list[tuple[LogLevel, str]] = []

    def order(self, command: Callable[[JobId], Command], done: Callable[[JobResult], None]) -> None:
        self.orders.append((command(JobId(len(self.orders))), done))

    def tell(self, done: OnChanged, reason: str | None) -> None:
        done(reason)

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None:
        self.logs.append((level, " ".join([event, *map(str, fields.values())])))

    def ordered(self) -> list[type[Command]]:
        """What waits to be carried out."""
        return [type(command) for command, _ in self.orders]

    def carried_out(self, result: JobResult, kind: type[Command] | None = None) -> Command:
        """The oldest order, or the oldest of a kind, which ended like this."""
        order = next(order for order in self.orders if kind is None or isinstance(order[0], kind))
        self.orders.remove(order)
        command, done = order
        done(result)
        return command

    def passes(self, seconds: float) -> None:
        self.now += seconds
        while (due := self.timers.take_due(self.now)) is not None:
            owner, timer = due
            owner.timer_fired(timer)


class Page:
    """A book of one page."""

    lock = f"{PATH}.lock"
    paths: Sequence[str] = (PATH,)

    def __init__(self) -> None:
        self.text = b""
        self.lacking = b""

    def loaded(self, files: Contents, wall: float) -> None:
        ((path, content),) = files
        if not isinstance(content, bytes) or b"?" in content:
            raise CorruptFile(path, "line 1", "it asks")
        self.text = content

    def news(self, wall: float) -> Update | None:
        return (lambda _: {PATH: self.lacking}) if self.lacking else None


class Told:
    """What those who asked were told."""

    def __init__(self) -> None:
        self.reasons: list[str | None] = []

    def __call__(self, reason: str | None) -> None:
        self.reasons.append(reason)


def held(content: bytes) -> FilesLoaded:
    return FilesLoaded([(PATH, content)], content)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def keeper(page: Page, house: House) -> StoreKeeper:
    return StoreKeeper(page, house)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_watched_file_is_looked_at_twice_a_second(keeper: StoreKeeper, page: Page, house: House) -> None:
    keeper.watch()
    assert house.timers.deadline() == house.now + POLL_SECONDS <= house.now + 0.5
    for content in (b"one", b"two"):
        house.passes(POLL_SECONDS)
        assert house.ordered() == [LoadFiles]
        house.carried_out(held(content))
        assert page.text == content


def test_only_what_has_changed_is_read(keeper: StoreKeeper, house: House) -> None:
    told = Told()
    keeper.look(told)
    assert house.carried_out(held(b"one")) == LoadFiles(JobId(0), (PATH,), None)
    keeper.look(told)
    assert house.carried_out(FilesUnchanged()) == LoadFiles(JobId(0), (PATH,), b"one")
    assert told.reasons == [None, None]


def test_a_disk_that_hangs_is_not_asked_again_and_again(keeper: StoreKeeper, house: House) -> None:
    keeper.watch()
    for _ in range(20):
        house.passes(POLL_SECONDS)
    assert house.ordered() == [LoadFiles]
    house.carried_out(held(b"one"))
    assert house.ordered() == []


def test_whoever_asks_during_a_look_waits_for_the_next_one(keeper: StoreKeeper, page: Page, house: House) -> None:
    """What he knows to be there may have been written behind the back of the first."""
    first, second, third = Told(), Told(), Told()
    keeper.look(first)
    keeper.look(second)
    keeper.look(third)
    house.carried_out(held(b"one"))
    assert (first.reasons, second.reasons) == ([None], [])
    house.carried_out(held(b"two"))
    assert (second.reasons, third.reasons, page.text) == ([None], [None], b"two")
    assert house.ordered() == []


def test_a_book_without_files_is_not_watched(house: House, page: Page) -> None:
    page.paths = ()
    StoreKeeper(page, house).watch()
    assert house.timers.deadline() is None


def test_a_keeper_at_rest_does_nothing_by_itself(keeper: StoreKeeper, page: Page, house: House) -> None:
    keeper.watch()
    house.passes(POLL_SECONDS)
    keeper.rest()
    page.lacking = b"news"
    house.carried_out(held(b"one"))
    assert house.timers.deadline() is None
    assert house.ordered() == []


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_corrupt_file_is_told_to_everybody_and_logged_once(keeper: StoreKeeper, page: Page, house: House) -> None:
    page.text = b"known"
    told = Told()
    for result in (held(b"what?"), FilesUnchanged(), FilesUnchanged()):
        keeper.look(told)
        house.carried_out(result)
    reason = "/data/book, line 1: it asks"
    assert told.reasons == [reason] * 3
    assert house.logs == [(LogLevel.ERROR, reason)]
    assert page.text == b"known"


def test_a_file_that_was_mended_is_taken_in(keeper: StoreKeeper, page: Page, house: House) -> None:
    told = Told()
    for content in (b"what?", b"mended", b"what?"):
        keeper.look(told)
        house.carried_out(held(content))
    assert [reason is None for reason in told.reasons] == [False, True, False]
    assert page.text == b"mended"
    assert len(house.logs) == 2


def test_an_answer_of_another_kind_is_a_fault_of_ours(keeper: StoreKeeper, house: House) -> None:
    keeper.look(Told())
    with pytest.raises(LocalError):
        house.carried_out(None)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_change_is_told_once_it_is_on_the_disk(keeper: StoreKeeper, page: Page, house: House) -> None:
    told = Told()
    keeper.change(lambda _: {PATH: b"new"}, told)
    assert (keeper.busy, told.reasons) == (True, [])
    command = house.carried_out(held(b"new"))
    assert isinstance(command, UpdateFiles)
    assert (command.lock, command.paths, command.update([])) == (f"{PATH}.lock", (PATH,), {PATH: b"new"})
    assert (keeper.busy, told.reasons, page.text) == (False, [None], b"new")


def test_a_change_that_failed_is_told_and_logged_once_for_each_reason(keeper: StoreKeeper, house: House) -> None:
    told = Told()
    for reason in ("no room", "no room", "read-only"):
        keeper.change(lambda _: {}, told)
        house.carried_out(UpdateFailed(reason))
    assert told.reasons == ["no room", "no room", "read-only"]
    assert house.logs == [(LogLevel.ERROR, "no room"), (LogLevel.ERROR, "read-only")]


def test_reading_well_does_not_make_a_failed_write_news_again(keeper: StoreKeeper, house: House) -> None:
    for _ in range(3):
        keeper.change(lambda _: {}, Told())
        house.carried_out(UpdateFailed("no room"))
        keeper.look(Told())
        house.carried_out(held(b"one"))
    assert house.logs == [(LogLevel.ERROR, "no room")]


def test_what_a_watched_file_lacks_is_written(keeper: StoreKeeper, page: Page, house: House) -> None:
    page.lacking = b"news"
    keeper.watch()
    house.passes(POLL_SECONDS)
    house.carried_out(held(b"old"))
    for _ in range(10):  # a lock that somebody holds is waited for once
        assert house.ordered() == [UpdateFiles]
        house.passes(POLL_SECONDS)
        house.carried_out(FilesUnchanged(), LoadFiles)
    page.lacking = b""
    house.carried_out(held(b"news"))
    assert page.text == b"news"


def test_news_that_cannot_be_written_are_tried_again_after_a_pause(
    keeper: StoreKeeper, page: Page, house: House
) -> None:
    page.lacking = b"news"
    keeper.watch()
    tries = 0
    for _ in range(int(4 * SHARE_AGAIN_SECONDS / POLL_SECONDS)):
        house.passes(POLL_SECONDS)
        house.carried_out(held(b"old"))
        if UpdateFiles in house.ordered():
            tries += 1
            house.carried_out(UpdateFailed("no room"))
    assert tries == 4
    assert house.logs == [(LogLevel.ERROR, "no room")]


def test_a_corrupt_file_is_not_written_to(keeper: StoreKeeper, page: Page, house: House) -> None:
    page.lacking = b"news"
    keeper.watch()
    house.passes(POLL_SECONDS)
    house.carried_out(held(b"what?"))
    assert house.ordered() == []


# --- usage ------------------------------------------------------------------------------------------------------------

USAGE = "/data/token_usage.json"
NO_USAGE = FilesLoaded([(USAGE, b"{}")], None)


@pytest.fixture
def desk() -> TokenDesk:
    return TokenDesk(Secret("a secret"), Config.parse({"DATA_DIR": "/data"}, home="/home"))


@pytest.fixture
def usage(desk: TokenDesk, house: House) -> UsageKeeper:
    return UsageKeeper(desk, house)


def counts(desk: TokenDesk, usage: UsageKeeper, house: House, requests: int = 1) -> None:
    for _ in range(requests):
        desk.usage.add("a", usage_of(Tokens(input=2), house.wall), house.now)
        usage.counted()


def saves(house: House) -> None:
    """The save under way is carried out."""
    command, done = house.orders.pop(0)
    assert isinstance(command, UpdateFiles)
    written = command.update([(USAGE, b"{}")])
    done(FilesLoaded([(USAGE, written[USAGE])], None))


def test_usage_is_written_every_few_seconds_however_much_there_is(
    desk: TokenDesk, usage: UsageKeeper, house: House
) -> None:
    writes = 0
    for _ in range(240):
        counts(desk, usage, house, requests=10)
        house.passes(0.125)
        if house.orders:
            writes += 1
            saves(house)
    assert writes == int(30 / FLUSH_SECONDS)


def test_without_use_nothing_is_written(usage: UsageKeeper, house: House) -> None:
    usage.counted()
    assert house.timers.deadline() is None
    usage.save()
    assert house.ordered() == []


def test_usage_that_cannot_be_written_is_kept_and_tried_again(
    desk: TokenDesk, usage: UsageKeeper, house: House
) -> None:
    counts(desk, usage, house, requests=3)
    house.passes(FLUSH_SECONDS)
    house.carried_out(UpdateFailed("no room"))
    assert house.logs == [(LogLevel.WARN, "token usage cannot be saved no room")]
    house.passes(RETRY_SECONDS - 1)
    assert house.ordered() == []
    house.passes(1)
    command, _ = house.orders[0]
    assert isinstance(command, UpdateFiles)
    written = command.update([(USAGE, b"{}")])
    assert read_usage([(USAGE, written[USAGE])])["a"].requests == 3


def test_the_last_save_is_one_that_succeeds_or_the_last_that_is_tried(
    desk: TokenDesk, usage: UsageKeeper, house: House
) -> None:
    assert usage.end()
    counts(desk, usage, house)
    assert not usage.end()
    assert not usage.end()
    assert house.ordered() == [UpdateFiles]
    house.carried_out(UpdateFailed("no room"))
    assert usage.end()
    assert house.ordered() == []


def test_a_save_that_failed_long_ago_is_tried_once_more_at_the_end(
    desk: TokenDesk, usage: UsageKeeper, house: House
) -> None:
    counts(desk, usage, house)
    house.passes(FLUSH_SECONDS)
    house.carried_out(UpdateFailed("no room"))
    assert not usage.end()
    saves(house)
    assert usage.end()


def test_what_is_counted_during_the_last_save_is_saved_too(desk: TokenDesk, usage: UsageKeeper, house: House) -> None:
    counts(desk, usage, house)
    assert not usage.end()
    counts(desk, usage, house)
    saves(house)
    assert not usage.end()
    saves(house)
    assert usage.end()
    usage.rest()
    assert house.timers.deadline() is None


# --- the audit log ----------------------------------------------------------------------------------------------------


def lines_of(command: Command) -> bytes:
    assert isinstance(command, AppendFile)
    assert command.path == "/data/audit.jsonl"
    return command.data


@pytest.fixture
def audit(house: House) -> AuditLog:
    return AuditLog("/data/audit.jsonl", house)


def test_lines_are_appended_in_order_and_one_append_at_a_time(audit: AuditLog, house: House) -> None:
    for line in (b"1", b"2", b"3"):
        audit.add(line)
    assert lines_of(house.carried_out(None)) == b"1\n"
    assert (audit.busy, house.ordered()) == (True, [AppendFile])
    assert lines_of(house.carried_out(None)) == b"2\n3\n"
    assert (audit.busy, house.ordered()) == (False, [])


def test_lines_that_cannot_be_written_are_missed_aloud_and_tried_again(audit: AuditLog, house: House) -> None:
    audit.add(b"1")
    for _ in range(3):
        house.carried_out(UpdateFailed("no room"))
        assert not audit.busy
        audit.add(b"2")
        assert house.ordered() == []
        house.passes(SHARE_AGAIN_SECONDS)
    assert house.logs == [(LogLevel.WARN, "the audit log lacks lines no room")]
    assert lines_of(house.carried_out(None)) == b"1\n2\n2\n2\n"
    audit.add(b"3")
    assert lines_of(house.carried_out(None)) == b"3\n"


def test_lines_for_a_full_disk_do_not_fill_the_memory(audit: AuditLog, house: House) -> None:
    for _ in range(30):
        audit.add(b"x" * (MOST_UNWRITTEN_BYTES // 10))
        if house.orders:
            house.carried_out(UpdateFailed("no room"))
    house.passes(SHARE_AGAIN_SECONDS)
    assert len(lines_of(house.carried_out(None))) <= MOST_UNWRITTEN_BYTES


def test_at_the_end_the_lines_are_written_or_given_up(audit: AuditLog, house: House) -> None:
    audit.add(b"1")
    house.carried_out(UpdateFailed("no room"))
    assert not audit.end()
    assert lines_of(house.carried_out(UpdateFailed("no room"))) == b"1\n"
    assert audit.end()
    assert (house.ordered(), house.timers.deadline()) == ([], None)


def test_lines_for_a_disk_that_hangs_do_not_fill_the_memory(audit: AuditLog, house: House) -> None:
    for _ in range(30):
        audit.add(b"x" * (MOST_UNWRITTEN_BYTES // 10))
    house.carried_out(None)
    assert len(lines_of(house.carried_out(None))) <= MOST_UNWRITTEN_BYTES
    assert house.logs[0] == (LogLevel.WARN, "the audit log lacks lines the disk does not keep up")


def test_without_a_path_there_is_no_log(house: House) -> None:
    audit = AuditLog(None, house)
    audit.add(b"1")
    assert (audit.busy, house.ordered()) == (False, [])


# --- the book of tokens -----------------------------------------------------------------------------------------------


def test_a_revocation_that_could_not_be_written_is_written_with_the_next_look(desk: TokenDesk, house: House) -> None:
    keeper = StoreKeeper(desk, house)
    update = desk.ended_early(revocation("a"), house.wall)
    assert update is not None
    keeper.change(update, Told())
    house.carried_out(UpdateFailed("no room"))
    keeper.watch()
    house.passes(POLL_SECONDS)
    empty: Contents = [(path, b"") for path in desk.paths]
    house.carried_out(FilesLoaded(empty, None))
    command, _ = house.orders[0]
    assert isinstance(command, UpdateFiles)
    written = command.update(empty)
    assert set(written) == set(desk.paths)
    other = TokenDesk(Secret("a secret"), Config.parse({"DATA_DIR": "/data"}, home="/home"))
    other.loaded(list(written.items()), house.wall)
    assert other.ledger.find("a") == TokenRecord("a", revoked=True)
