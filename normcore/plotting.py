"""The book's figures: one style, readable in light, in dark and without colour; one drawing of the tensor."""

import contextlib
import hashlib
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

__all__ = ["COLORS", "band", "draw_graph", "draw_index_set", "figure", "index_sets", "show"]

# Each has a contrast of at least 3 to 1 with the page in light (#ffffff) and in dark (#121212), and any two
# differ with each of the three kinds of colour blindness. Lines differ in dash and marker as well.
COLORS = {"blue": "#2f7fc1", "orange": "#d2691e", "green": "#466b35", "purple": "#962dff", "grey": "#808080"}

# Stands for the page's text colour, and is replaced by it when a figure is shown.
INK = "#010203"

STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(
        color=[COLORS[c] for c in ("blue", "orange", "green", "purple", "grey")],
        linestyle=["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))],
        marker=["o", "s", "^", "D", "v"],
    ),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 11,
    "legend.frameon": False,
    "lines.markersize": 4.5,
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextlib.contextmanager
def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.4, 3.3), **options) -> Iterator:
    """Figure and axes in the book's style.

        with figure() as (fig, ax):
            ax.plot(x, y)

    Args:
        rows, columns: of axes; one axes comes by itself, more as an array.
        size: inches. Narrow is better: a phone shows it at two thirds of 5.4 inches.
        options: as plt.subplots.
    """
    with mpl.rc_context(STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=size, **options)
        yield fig, axes
        for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
            if axis.get_scale() == "log" and isinstance(axis.get_major_formatter(), ticker.LogFormatter):
                axis.set_major_formatter(PlainLogFormatter())
                axis.set_minor_formatter(PlainLogFormatter())
    plt.close(fig)


class PlainLogFormatter(ticker.LogFormatterSciNotation):
    """Log axes as people write numbers: 30, 40, 60, and powers of ten only where an axis reaches far."""

    PLAIN = 1e-4, 1e5  # between these, a number is shorter than its power

    def __init__(self) -> None:
        super().__init__(minor_thresholds=(1.75, 0.4))  # decades: below them, more than powers are named

    def __call__(self, x, pos=None) -> str:
        """What stands at a tick, if anything does."""
        text = super().__call__(x, pos)
        if not text or self.axis is None:
            return text
        low, high = sorted(self.axis.get_view_interval())
        plain = self.PLAIN[0] <= low * 1.001 and high <= self.PLAIN[1]
        return f"{x:,.6g}" if plain else text


def show(fig: Figure, alt: str, caption: str = ""):
    """A figure as part of the page: lines as they are, ink in the page's own text colour.

    Args:
        fig: from `figure`.
        alt: what the figure shows, for those who do not see it.
        caption: what to see in it.

    Raises:
        ValueError: two lines that a legend tells apart and a reader cannot.
    """
    from IPython.display import HTML

    _check_lines(fig)

    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": alt}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # matplotlib numbers its ids from 1 in every figure; on one page they must differ
    prefix = "f" + hashlib.sha256((alt + caption).encode()).hexdigest()[:8] + "-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)
    text = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return HTML(f'<figure class="plot">{svg}{text}</figure>')


def _check_lines(fig: Figure) -> None:
    for ax in fig.axes:
        seen: dict[tuple[str, str, str], str] = {}
        for line in ax.lines:
            label = str(line.get_label())
            if label.startswith("_") or line.get_linestyle() == "None":
                continue
            look = str(line.get_color()), str(line.get_linestyle()), str(line.get_marker())
            if look in seen:
                raise ValueError(f"the lines {seen[look]!r} and {label!r} have one colour, dash and marker")
            seen[look] = label


def band(ax: Axes, x: Sequence[float], runs: np.ndarray, label: str | None, **options) -> None:
    """A line through the medians of several runs, and the band from the smallest to the largest.

    Args:
        ax: to draw on.
        x: (points,).
        runs: (seeds, points).
        label: of the line; None for a line without one.
        options: as ax.plot.
    """
    (line,) = ax.plot(x, np.median(runs, 0), label=label, **options)
    ax.fill_between(x, runs.min(0), runs.max(0), color=line.get_color(), alpha=0.25, linewidth=0)


def draw_graph(
    ax: Axes, nodes: Mapping[str, tuple[float, float, str]], edges: Sequence[tuple[str, str]]
) -> None:
    """A computation graph: a box a node, an arrow an edge.

    Args:
        ax: to draw on; its frame is taken off.
        nodes: by name, where its middle is and what stands in it; boxes are about 1 by 0.5.
        edges: (from, to), names of nodes.
    """
    boxes = {
        name: ax.text(
            x, y, label, ha="center", va="center", linespacing=1.4,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "none", "edgecolor": COLORS["blue"]},
        )
        for name, (x, y, label) in nodes.items()
    }  # fmt: skip
    for start, end in edges:
        ax.annotate(
            "", nodes[end][:2], nodes[start][:2],
            arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0, "linewidth": 0.9,
                        "patchA": boxes[start].get_bbox_patch(), "patchB": boxes[end].get_bbox_patch()},
        )  # fmt: skip
    xs, ys = zip(*((x, y) for x, y, _ in nodes.values()), strict=True)
    ax.set_xlim(min(xs) - 0.6, max(xs) + 0.6)
    ax.set_ylim(min(ys) - 0.45, max(ys) + 0.45)
    ax.set_axis_off()


# One drawing of the tensor: N to the back, C down, positions to the right.
_RIGHT, _DOWN, _BACK = np.array([1.0, 0.0]), np.array([0.0, -1.0]), np.array([0.45, 0.42])


def draw_index_set(ax: Axes, inside, shape: tuple[int, int, int] = (4, 4, 5), title: str = "") -> None:
    """The tensor as a block of cells, with one index set filled.

    Examples N go to the back, channels C down, positions (H, W) to the right.

    Args:
        ax: to draw on; its frame is taken off.
        inside: (n, c, p) → whether the cell belongs to the set.
        shape: (N, C, positions).
        title: over the drawing.
    """
    examples, channels, positions = shape

    def face(n: int, c: int, p: int, corner: np.ndarray, u: np.ndarray, v: np.ndarray, shade: float) -> None:
        corners = [corner, corner + u, corner + u + v, corner + v]
        fill: dict[str, Any] = (
            {"facecolor": COLORS["orange"], "alpha": shade} if inside(n, c, p) else {"facecolor": "none"}
        )
        ax.add_patch(Polygon(corners, edgecolor="none", linewidth=0, **fill))
        ax.add_patch(Polygon(corners, fill=False, edgecolor=INK, linewidth=0.7))

    for c in range(channels):
        for p in range(positions):
            face(0, c, p, p * _RIGHT + c * _DOWN, _RIGHT, _DOWN, 1.0)
    for n in range(examples):
        for p in range(positions):
            face(n, 0, p, p * _RIGHT + n * _BACK, _RIGHT, _BACK, 0.75)
        for c in range(channels):
            face(n, c, positions - 1, positions * _RIGHT + c * _DOWN + n * _BACK, _DOWN, _BACK, 0.55)
    ax.set_xlim(-1.1, positions + examples * _BACK[0] + 0.1)
    ax.set_ylim(-channels - 1.0, examples * _BACK[1] + 0.1)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(title)
    ax.text(positions / 2, -channels - 0.2, "H, W", ha="center", va="top")
    ax.text(-0.25, -channels / 2, "C", ha="right", va="center")
    right, up = positions * _RIGHT + channels * _DOWN + examples / 2 * _BACK + [0.25, -0.15]
    ax.text(right, up, "N", va="top")


def index_sets(methods: Sequence[str] = ("batch", "layer", "instance", "group")) -> Figure:
    """The index set of one statistic of each method, side by side.

    Args:
        methods: of "batch", "layer", "instance", "group".

    Raises:
        ValueError: a method that is none of these.
    """
    sets = {
        "batch": lambda n, c, p: c == 0,
        "layer": lambda n, c, p: n == 0,
        "instance": lambda n, c, p: n == 0 and c == 0,
        "group": lambda n, c, p: n == 0 and c < 2,
    }
    unknown = [m for m in methods if m not in sets]
    if unknown:
        raise ValueError(f"methods must be of {', '.join(sets)}, but got {unknown[0]!r}")
    rows = (len(methods) + 1) // 2
    with figure(rows, min(2, len(methods)), (5.4, 2.6 * rows), squeeze=False) as (fig, axes):
        for ax, method in zip(axes.flat, methods, strict=False):
            draw_index_set(ax, sets[method], title=f"{method} norm")
        for ax in axes.flat[len(methods) :]:
            ax.set_axis_off()
    return fig
