"""What is measured along the training of several networks, drawn (chapter: Why it works)."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from normcore.experiments.grid import Grid
from normcore.plotting import band, figure

__all__ = ["draw_panels"]


def draw_panels(results: Grid, labels: Mapping[str, str]) -> Figure:
    """Quantities against the step, a panel each: medians, and bands over the seeds.

    Args:
        results: by network, quantity, seed, step.
        labels: by quantity, of its axis.
    """
    with figure(len(labels), 1, (5.4, 2.0 + 1.2 * len(labels)), sharex=True) as (fig, axes):
        for ax, (quantity, label) in zip(axes, labels.items(), strict=True):
            for name, found in results.items():
                legend = name if ax is axes[0] else None
                band(ax, results.axes["step"], found[quantity], legend, markevery=4)
            ax.set(xlabel="step", ylabel=label, yscale="log")
            ax.xaxis.label.set_visible(ax is axes[-1])
        fig.legend(loc="outside upper center", ncols=2)
    return fig
