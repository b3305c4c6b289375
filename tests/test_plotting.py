import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from normcore.plotting import COLORS, INK, STYLE, band, figure, index_sets, show


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
