import itertools
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from normcore.plotting import COLORS, INK, STYLE, band, figure, index_sets, show
from scripts import pictures
from tests.commands import ROOT


def luminance(color):
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("name", COLORS)
@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_colors_stand_out_in_light_and_in_dark(name, page):
    lighter, darker = sorted((luminance(COLORS[name]), luminance(page)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3  # WCAG 1.4.11, graphical objects


def test_lines_differ_without_colour():
    cycle = list(STYLE["axes.prop_cycle"])
    assert len({(c["linestyle"], c["marker"]) for c in cycle}) == len(cycle)


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
COLOUR_VISION = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def lab(color, seen_by):
    """CIELAB, D65, of a colour as somebody sees it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    seen = np.clip(np.array(COLOUR_VISION[seen_by]) @ linear, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    xyz = np.array(to_xyz) @ seen / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen_by", COLOUR_VISION)
@pytest.mark.parametrize("pair", itertools.combinations(COLORS, 2), ids=" and ".join)
def test_colours_differ_with_any_colour_vision(pair, seen_by):
    """A difference of 2.3 can just be seen; side by side and thin, lines need several times that."""
    a, b = (lab(COLORS[name], seen_by) for name in pair)
    assert np.linalg.norm(a - b) > 15


def test_two_lines_that_look_alike_are_refused():
    with figure() as (fig, ax):
        for label in ("one", "two"):
            ax.plot([1, 2], color=COLORS["blue"], linestyle="-", marker="o", label=label)
        with pytest.raises(ValueError, match="'one' and 'two' have one colour, dash and marker"):
            show(fig, "alike")
        ax.lines[1].set_marker("s")
        show(fig, "apart")


def shown(alt="what it shows", caption="what to see"):
    with figure() as (fig, ax):
        ax.plot([1, 2], label="a < b")
        ax.legend()
    return show(fig, alt, caption).data


def test_a_figure_takes_the_pages_ink_and_says_what_it_shows():
    html = shown('a "quoted" & described figure')
    assert INK not in html and "currentColor" in html
    assert 'aria-label="a &quot;quoted&quot; &amp; described figure"' in html
    assert "<figcaption>what to see</figcaption>" in html


def test_a_figure_is_the_same_bytes_each_time_and_leaves_nothing_open():
    assert shown() == shown()
    assert not plt.get_fignums()


def test_two_figures_share_no_id():
    ids = [set(re.findall(r'\bid="([^"]+)"', shown(alt))) for alt in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]
    html = shown("one")
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', html):
        assert f'id="{reference}"' in html


def test_a_band_spans_all_runs():
    runs = np.array([[1.0, 5.0], [2.0, 4.0], [9.0, 6.0]])
    with figure() as (_, ax):
        band(ax, [0, 1], runs, "runs")
        assert ax.lines[0].get_ydata().tolist() == [2.0, 5.0]
        corners = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert corners.min() == 1.0 and corners.max() == 9.0


def named_ticks(axis):
    """What stands at the ticks in sight, in their order."""
    seen = {}
    for places, formatter in (
        (axis.get_majorticklocs(), axis.get_major_formatter()),
        (axis.get_minorticklocs(), axis.get_minor_formatter()),
    ):
        seen |= dict(zip(places, formatter.format_ticks(places), strict=True))
    low, high = sorted(axis.get_view_interval())
    return [text for place, text in sorted(seen.items()) if text and low <= place <= high]


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ((25, 95), ["30", "40", "60"]),
        ((0.05, 0.9), ["0.06", "0.1", "0.2", "0.3", "0.4", "0.6"]),
        ((500, 90_000), ["1,000", "10,000"]),
        ((1e-9, 1e-6), [r"$\mathdefault{10^{-9}}$", r"$\mathdefault{10^{-8}}$", r"$\mathdefault{10^{-7}}$"]),
    ],
)
def test_a_log_axis_has_numbers_as_people_write_them(limits, named):
    with figure() as (_, ax):
        ax.plot(limits, limits)
        ax.set(xscale="log", xlim=limits)
    assert named_ticks(ax.xaxis)[: len(named)] == named


def test_ticks_that_are_named_by_hand_are_left():
    with figure() as (_, ax):
        ax.set(xscale="log", xlim=(1, 100))
        ax.set_xticks([8, 16], ["eight", "sixteen"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["eight", "sixteen"]


@pytest.mark.parametrize(
    ("method", "filled"), [("batch", 5 + 4 * 5 + 4), ("layer", 20 + 5 + 4), ("instance", 5 + 5 + 1)]
)
def test_an_index_set_fills_its_visible_faces(method, filled):
    """A block of 4 examples, 4 channels, 5 positions: 4·5 front faces, 4·5 top faces, 4·4 side faces."""
    fig = index_sets((method,))
    patches = fig.axes[0].patches
    assert len(patches) == 2 * (4 * 5 + 4 * 5 + 4 * 4)
    orange = to_rgb(COLORS["orange"])
    assert sum(p.get_facecolor()[:3] == orange and p.get_facecolor()[3] > 0 for p in patches) == filled


def test_an_unknown_method_is_refused():
    with pytest.raises(
        ValueError, match="methods must be of batch, layer, instance, group, but got 'weight'"
    ):
        index_sets(("batch", "weight"))


@pytest.mark.parametrize("name", pictures.INKS)
def test_the_picture_of_readme_and_landing_page_is_what_is_drawn(name):
    path = pictures.FOLDER / f"index-sets-{name}.svg"
    assert path.read_text("utf-8") == pictures.drawn().replace(INK, pictures.INKS[name])
    assert all(path.name in (ROOT / page).read_text("utf-8") for page in ("README.md", "book/intro.md"))
