"""What is measured along the training with and without batch norm, drawn (chapter: Why it works)."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from normcore.experiments.grid import Grid
from normcore.plotting import band, figure

__all__ = ["draw_panels"]


def draw_panels(results: Grid, labels: Mapping[str, str]) -> Figure:
    """Quantities against the step, a panel each: medians, and bands over the seeds.

    Args:
        results: by network ("without", "with"), quantity, seed, step.
        labels: by quantity, of its axis.
    """
    with figure(len(labels), 1, (5.4, 2.0 + 1.2 * len(labels)), sharex=True) as (fig, axes):
        for ax, (quantity, label) in zip(axes, labels.items(), strict=True):
            for name, found in results.items():
                legend = f"{name} batch norm" if ax is axes[0] else None
                band(ax, results.axes["step"], found[quantity], legend, markevery=4)
            ax.set(ylabel=label, yscale="log")
        axes[-1].set_xlabel("step")
        fig.legend(loc="outside upper center", ncols=2)
    return fig
