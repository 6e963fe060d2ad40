"""What a benchmark hands back: tables of figures, and targets met or missed; as text for people and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, TypeAlias

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Target:
    """A promise: the value of a subject stays at or below the limit."""

    what: str
    subject: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit


@dataclass(frozen=True)
class Table:
    """Rows of figures; the columns' names carry the units."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Result:
    """All that one benchmark found."""

    tables: tuple[Table, ...]
    targets: tuple[Target, ...] = ()


def percentile(values: Sequence[float], per_cent: int) -> float:
    """Of at least two values; between two of them it is interpolated."""
    return quantiles(values, n=100, method="inclusive")[per_cent - 1]


def paired_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios of what was measured in the same round."""
    return median(value / other for value, other in zip(values, others, strict=True))


def names(table: Table) -> tuple[str, ...]:
    """The columns, the unnamed first one too."""
    return tuple(column.strip() or "subject" for column in table.columns)


def as_json(result: Result) -> dict[str, Any]:
    return {
        "tables": [
            {
                "title": table.title,
                "rows": [dict(zip(names(table), row, strict=True)) for row in table.rows],
                "note": table.note,
            }
            for table in result.tables
        ],
        "targets": [
            {
                "what": target.what, "subject": target.subject, "value": target.value, "limit": target.limit,
                "unit": target.unit, "met": target.met,
            }
            for target in result.targets
        ],
    }  # fmt: skip


def as_text(table: Table) -> str:
    """Aligned columns, readable in a terminal and as it stands in a page."""
    cells = [table.columns, *(tuple(_shown(cell) for cell in row) for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    lines = [_line(row, widths) for row in cells]
    lines.insert(1, _line(["-" * width for width in widths], widths))
    return "\n".join([table.title, *lines, *([table.note] if table.note else [])])


def targets_table(targets: Iterable[Target]) -> Table:
    rows = tuple(
        (target.what, target.subject, target.value, target.limit, target.unit, "met" if target.met else "MISSED")
        for target in targets
    )
    return Table("Targets", ("what", "subject", "measured", "at most", "unit", ""), rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) < 10 else f"{cell:.1f}"
    return str(cell)
