"""Routers with logins that can be renewed."""

from tests.protocol.accounts.conftest import OpenPool
from tests.support.pooled import (
    Pooled,
    session,
)
from tests.support.requests import REPLY
from transports.memory import EPOCH

LIFETIME = 28_800.0
"""Of a login at the start, in seconds."""


def login(name: str = "primary", lifetime: float = LIFETIME, number: int = 0) -> bytes:
    return session(name, number=number, expires_at=EPOCH + lifetime)


def one(pool_of: OpenPool, lifetime: float = LIFETIME, **settings: str) -> Pooled:
    """A router with one renewable login."""
    return pool_of(1, {"primary": login(lifetime=lifetime)}, **settings)


def answers(scene: Pooled, name: str = "primary", number: int = 0) -> None:
    """A request is served with this token."""
    client = scene.client().posts()
    scene.asked().by(name, number).replies()
    client.saw(200, REPLY)
    client.leaves()
