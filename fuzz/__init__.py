"""Fuzz targets: each module holds one ``check(data)``, which any bytes at all must pass, and runs it under atheris."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"


def fuzz(check: Callable[[bytes], None]) -> None:
    """Feed ``check`` with what libFuzzer makes up, guided by the branches taken in ``protocol``; never returns."""
    import atheris  # only here: the checks run without it, as tests over the corpus

    for found in gc.get_objects():
        if isinstance(found, FunctionType) and str(found.__module__).startswith("protocol."):
            atheris.instrument_func(found)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
