"""In which order the accounts that can answer are asked."""

from enum import Enum
from typing import Final, TypeAlias

from protocol.identity.standing import Standing


class Strategy(Enum):
    """What makes an account the next one."""

    ROUND_ROBIN = "round-robin"
    PRIORITY = "priority"
    LEAST_USED = "least-used"


STRATEGY_SPELLINGS: Final = {
    Strategy.ROUND_ROBIN: ("roundrobin", "rr"),
    Strategy.PRIORITY: ("prio", "fill-first"),
    Strategy.LEAST_USED: ("leastused", "lru", "quota-first"),
}
"""Other spellings that a setting takes."""

Rank: TypeAlias = tuple[float, float, int]
"""The smallest is asked first. The last part is the position in the list of accounts, so no two are equal."""

SHARE_IN_FLIGHT: Final = 0.01
"""A request under way counts as this much of a window: what it will cost is not known before it has ended."""


def rank(strategy: Strategy, standing: Standing, now: float) -> Rank:
    """Round-robin: whoever was asked longest ago. Priority: the first of the list. Least used: the smallest share of
    the provider's windows and of the account's own request limit, in whole per cent, then the fewest tokens of late.
    """
    if strategy is Strategy.ROUND_ROBIN:
        return (standing.last_turn, 0.0, standing.position)
    if strategy is Strategy.PRIORITY:
        return (0.0, 0.0, standing.position)
    share = standing.utilization(now) + SHARE_IN_FLIGHT * standing.in_flight
    return (round(share, 2), standing.load.level, standing.position)
