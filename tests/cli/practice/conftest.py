from collections.abc import Iterator

import pytest

from cli.practice import PracticeUpstream
from tests.support.practice import RawClient


@pytest.fixture
def upstream() -> Iterator[PracticeUpstream]:
    with PracticeUpstream() as running:
        yield running


@pytest.fixture
def client(upstream: PracticeUpstream) -> Iterator[RawClient]:
    with RawClient(upstream) as connected:
        yield connected
