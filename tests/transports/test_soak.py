"""A long run of everything together; what it is made of is in ``tests.support.soak``."""

import os
from typing import Final

import pytest

from tests.support.soak import Soak

REQUESTS: Final = int(os.environ.get("SOAK_REQUESTS", "10000"))
STAGES: Final = 10
WARM: Final = 2
"""Stages after which every conversation has been seen and every cache is as full as it gets."""
FEW: Final = 3
"""Of so many stages the one counts that left the least behind: cooldowns, for example, come and go."""
OUTCOMES: Final = ("answered", "the provider's error", "nobody left", "dropped", "cut", "left")
HURRIES: Final = (4.0, 0.3)
"""By turns the accounts have time to recover, and have not."""
MOST_GROWTH: Final = 0.3
"""Memory blocks for each request: less than one object would take, and more than chance makes of what is remembered."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [int(os.environ.get("SOAK_SEED", "1"))])
def test_every_request_is_answered_rightly_and_leaves_nothing_behind(seed: int) -> None:
    soak = Soak(seed)
    blocks = []
    for stage in range(STAGES):
        soak.hurry = HURRIES[stage % len(HURRIES)]
        soak.ask(REQUESTS // STAGES)
        blocks.append(soak.blocks())
    assert soak.wrong == []
    assert soak.outcomes.total() == REQUESTS
    assert all(soak.outcomes[outcome] for outcome in OUTCOMES)
    assert soak.outcomes["answered"] > REQUESTS / 2
    assert soak.renewals > 0

    shown = {account["name"]: account for account in soak.accounts()}
    assert {name: account["used"] for name, account in shown.items()} == soak.used
    assert {name: account["tokens"]["input"] for name, account in shown.items()} == soak.billed
    assert [account["in_flight"] for account in shown.values()] == [0] * len(shown)

    early, late = min(blocks[WARM : WARM + FEW]), min(blocks[-FEW:])
    assert late - early < MOST_GROWTH * REQUESTS * (STAGES - WARM - FEW) / STAGES, blocks
    soak.end()
    soak.blocks()
    assert soak.wrong == []
    gateway = soak.shell.gateway
    assert (len(gateway._links), len(gateway._exchanges), len(gateway._jobs), soak.shell.streams) == (0, 0, 0, {})
