"""Scenes for the tests of the core; each must end without a fault of ours in the log."""

from collections.abc import Callable, Iterator, Mapping

import pytest

from protocol.files import FileContent
from tests.support.scene import Scene
from tests.support.stage import CREDENTIALS

OpenScene = Callable[..., Scene]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A router with default settings."""
    scene = Scene()
    yield scene
    scene.assert_faultless()


@pytest.fixture
def scene_with() -> Iterator[OpenScene]:
    """Open a router with settings of the test's own."""
    opened: list[Scene] = []

    def open_with(
        credentials: FileContent | None = CREDENTIALS,
        files: Mapping[str, FileContent] | None = None,
        /,
        beside: Scene | None = None,
        **settings: str,
    ) -> Scene:
        opened.append(Scene(credentials, files, beside, **settings))
        return opened[-1]

    yield open_with
    for scene in opened:
        scene.assert_faultless()
