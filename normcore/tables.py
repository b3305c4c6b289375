"""The book's tables of results: a table that reflows in a page or notebook, aligned text in a console."""

import html
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from normcore.intervals import Interval

__all__ = ["Table", "number", "table"]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, spec: str = ".3g") -> str:
    """A number as the book prints it: 3.2·10⁻⁵, −0.5, ∞.

    Args:
        value: any number.
        spec: as in an f-string.
    """
    if np.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = format(value, spec)
    if spec[-1] in "eg" and "e" in text:
        digits, _, power = text.partition("e")
        text = f"{digits}·10{str(int(power)).translate(_RAISED)}" if int(power) else digits
    return text.replace("-", "−")


class Table:
    """Rows of texts under headers; what `table` returns."""

    def __init__(self, caption: str, headers: list[str], rows: list[list[tuple[str, float | None]]]) -> None:
        self.caption, self.headers, self.rows = caption, headers, rows

    def _has_numbers(self, column: int) -> bool:
        return any(row[column][1] is not None for row in self.rows)

    def __repr__(self) -> str:
        texts = [self.headers, *([text for text, _ in row] for row in self.rows)]
        lines = []
        for row in texts:
            line = []
            for j, text in enumerate(row):
                width = max(len(other[j]) for other in texts)
                line.append(text.rjust(width) if self._has_numbers(j) else text.ljust(width))
            lines.append("  ".join(line).rstrip())
        return "\n".join([*lines, "", *textwrap.wrap(self.caption, 76)])

    def _repr_html_(self) -> str:
        # on a phone rows become blocks, and an element laid out otherwise loses its meaning: hence the roles
        head = ""
        for j, header in enumerate(self.headers):
            kind = ' class="number"' if self._has_numbers(j) else ""
            head += f'<th{kind} role="columnheader" scope="col">{html.escape(header)}</th>'
        body = "".join(f'<tr role="row">{self._row(row)}</tr>' for row in self.rows)
        return (
            f'<table class="result" role="table"><caption>{html.escape(self.caption)}</caption>'
            f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
            f'<tbody role="rowgroup">{body}</tbody></table>'
        )

    def _row(self, row: list[tuple[str, float | None]]) -> str:
        cells = []
        for j, (text, value) in enumerate(row):
            tag, role = ("th", 'role="rowheader" scope="row"') if j == 0 else ("td", 'role="cell"')
            measured = "" if value is None else f' class="number" data-value="{value:.6g}"'
            label = html.escape(self.headers[j], quote=True)
            cells.append(f'<{tag} {role} data-label="{label}"{measured}>{html.escape(text)}</{tag}>')
        return "".join(cells)


def table(columns: Mapping[str, Any], caption: str, formats: Mapping[str, str] | None = None) -> Table:
    """Results as a table.

        table({"network": names, "steps": runs}, "Steps to 90 %, median of {seeds}", {"steps": ".0f"})

    In a caption `{seeds}` stands for "5 seeds", if the arrays have five entries.

    Args:
        columns: by header, with its unit in brackets: "distance [km]". The first names the rows. An entry is
            a text, a number, an array (seeds,), shown as its median, smallest and largest: 98 (91 to 105),
            or what `paired` returns, shown as its mean and interval: 1.36 [1.23, 1.49].
        caption: what the table shows, and over what.
        formats: by header, how its numbers are printed, as in an f-string; ".3g" where nothing is said.

    Raises:
        ValueError: no caption, no column, columns of different lengths, a format for none of them, or
            `{seeds}` where arrays are of several lengths, or there is none.
    """
    if not caption:
        raise ValueError("caption must say what the table shows")
    lengths = {header: len(entries) for header, entries in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns must have one length, but got {lengths}")
    if unknown := set(formats or {}) - set(columns):
        raise ValueError(f"formats must name columns, but got {', '.join(sorted(unknown))}")
    specs = {header: (formats or {}).get(header, ".3g") for header in columns}
    rows = [
        [_entry(entry, specs[header]) for header, entry in zip(columns, row, strict=True)]
        for row in zip(*columns.values(), strict=True)
    ]
    if "{seeds}" in caption:
        counts = {len(e) for entries in columns.values() for e in entries if np.ndim(e)}
        if len(counts) != 1:
            raise ValueError(f"arrays must have one length, the number of seeds, but got {sorted(counts)}")
        caption = caption.replace("{seeds}", f"{counts.pop()} seeds")
    return Table(caption, list(columns), rows)


def _entry(entry: Any, spec: str) -> tuple[str, float | None]:
    """What is printed, and its value: the median of several."""
    if isinstance(entry, str):
        return entry, None
    if isinstance(entry, Interval):
        mean, low, high = (number(v, spec) for v in (entry.mean, entry.low, entry.high))
        return f"{mean} [{low}, {high}]", entry.mean
    values = np.asarray(entry, float)
    if values.ndim == 0:
        return number(float(values), spec), float(values)
    median = float(np.median(values))
    middle, low, high = (number(float(v), spec) for v in (median, values.min(), values.max()))
    return middle if low == high else f"{middle} ({low} to {high})", median
