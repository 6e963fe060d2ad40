"""Metrics as text, in the two formats that are scraped: Prometheus text 0.0.4 and OpenMetrics 1.0."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from protocol.values import Headers
from protocol.wire.headers import all_values, list_items

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, in the order to show them."""


class Format(Enum):
    """How a page of metrics is written; the value is its ``content-type``."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Kind(Enum):
    """What the numbers of a family mean."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Sample(msgspec.Struct, frozen=True):
    """One number. ``suffix`` says which part of a histogram it is."""

    value: float
    labels: Labels = ()
    suffix: str = ""


class Family(msgspec.Struct, frozen=True):
    """Every sample of one name. ``about`` is one line without a backslash.

    :param name: without the ``_total`` or ``_info`` that its kind adds.
    :param labels: the names of those that its samples have, but for the ``le`` of a histogram's buckets.
    """

    name: str
    kind: Kind
    about: str
    samples: list[Sample]
    labels: tuple[str, ...] = ()

    @property
    def whole_name(self) -> str:
        """What its samples are called; those of a histogram add to it which part of it they are."""
        return self.name + SUFFIXES.get(self.kind, "")


def render(families: Iterable[Family], form: Format) -> bytes:
    """The page, with families and samples in the order given."""
    openmetrics = form is Format.OPENMETRICS
    lines = [line for family in families for line in _family(family, openmetrics=openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def choose_format(headers: Headers) -> Format:
    """The format that a request with these headers prefers (RFC 9110 section 12.5.1).

    OpenMetrics has to be asked for by name; whoever takes neither gets plain text all the same.
    """
    ranges = [
        _media_range(item.decode("latin-1")) for value in all_values(headers, b"accept") for item in list_items(value)
    ]
    openmetrics = _quality(ranges, ("application/openmetrics-text",), ("", "1.0.0"))
    text = _quality(ranges, ("text/plain", "text/*", "*/*"), ("", "0.0.4"))
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


SUFFIXES: Final[Mapping[Kind, str]] = {Kind.COUNTER: "_total", Kind.INFO: "_info"}


def _family(family: Family, *, openmetrics: bool) -> Iterator[str]:
    whole = family.whole_name
    # The older format knows no suffixes and no info: there a family is called what its samples are called.
    name = family.name if openmetrics else whole
    kind = Kind.GAUGE if family.kind is Kind.INFO and not openmetrics else family.kind
    yield f"# HELP {name} {family.about}"
    yield f"# TYPE {name} {kind.value}"
    for sample in family.samples:
        yield f"{whole}{sample.suffix}{_labels(sample.labels)} {sample.value!r}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels) + "}"


_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

_MediaRange: TypeAlias = tuple[str, str, float]
"""Media range, version and quality."""

_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def _media_range(item: str) -> _MediaRange:
    """A member of ``Accept``; without a version that is empty. With a quality that is none, it accepts nothing."""
    name, *parameters = (part.strip(" \t").lower() for part in item.split(";"))
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    quality = values.get("q", "1")
    return name, values.get("version", "").strip('"'), float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _quality(ranges: list[_MediaRange], names: tuple[str, ...], versions: tuple[str, str]) -> float:
    """How welcome a media type is that goes under these names: the most exact one that is listed decides."""
    for name in names:
        found = [quality for listed, version, quality in ranges if listed == name and version in versions]
        if found:
            return max(found)
    return 0.0
