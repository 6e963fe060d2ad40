"""In which order the accounts that can answer are asked."""

from typing import Final, TypeAlias

from protocol.config import Strategy
from protocol.identity.standing import Standing

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
