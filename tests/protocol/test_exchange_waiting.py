"""An exchange whose script waits for the disk."""

from collections.abc import Callable

import pytest

from protocol.effects import ChangeStore, Script, Store, change_store
from protocol.exchange import CHANGE_SECONDS, LOOK_SECONDS, Phase
from protocol.files import Update
from protocol.timers import Timer
from tests.support.play import House, Play


class HungDisk(House):
    """Never says what became of a change."""

    def change(self, effect: ChangeStore, done: Callable[[str | None], None]) -> None:
        self.late = done


@pytest.mark.parametrize(("update", "patience"), [(None, LOOK_SECONDS), (lambda files: {}, CHANGE_SECONDS)])
def test_a_disk_that_hangs_keeps_no_client_waiting_for_ever(update: Update | None, patience: float) -> None:
    def story() -> Script:
        yield from change_store(Store.TOKENS, update)
        raise AssertionError("it was not changed")

    house = HungDisk()
    play = Play(story(), house=house)
    house.now += patience
    play.exchange.timer_fired(Timer.DISK)
    assert play.client.status == 503
    house.late(None)
    play.assert_ended_once(Phase.DONE)
