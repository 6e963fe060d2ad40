"""``python -m benchmarks [NAME...] [--quick] [--json PATH]``: measure, print, and tell which targets are met."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks import chunk, machine
from benchmarks.report import Result, Target, as_json, as_text, targets_table

NAMES: Final = ("chunk", "head", "translate", "pool", "request", "stream", "latency", "memory", "startup")
"""The modules of this folder that measure something, in the order they run in."""


def main() -> None:
    arguments = parsed()
    if arguments.write_baseline:
        chunk.write_baseline()
        return
    document: dict[str, Any] = {"machine": machine.facts(), "quick": arguments.quick, "benchmarks": {}}
    print("\n".join(f"{name}: {value}" for name, value in document["machine"].items()))
    targets: list[Target] = []
    for name in arguments.names or NAMES:
        measure: Callable[..., Result] = import_module(f"benchmarks.{name}").measure
        begin = time.monotonic()
        result = measure(quick=arguments.quick)
        document["benchmarks"][name] = as_json(result)
        targets += result.targets
        for table in result.tables:
            print(f"\n{as_text(table)}", flush=True)
        print(f"{name} took {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if targets:
        print(f"\n{as_text(targets_table(targets))}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the router and print figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, by default all: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run of less than 40 s, too short for figures")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything there as JSON, too")
    parser.add_argument("--write-baseline", action="store_true", help="only count calls, and replace baseline.json")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark called {', '.join(unknown)}")
    return arguments


if __name__ == "__main__":
    main()
