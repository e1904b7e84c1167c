"""Figures in the house style: drawn without a display, saved as PNG."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlib_methods.runtime.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["name_ticks", "new_figure", "new_image_grid", "save_figures"]

DOTS_PER_INCH = 160
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#882255")
STYLE: dict[Any, Any] = {
    "figure.dpi": DOTS_PER_INCH,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.prop_cycle": f"cycler(color={COLORS})",
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "image.cmap": "gray",
}


def _figure(width: float, height: float) -> "Figure":
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcParams.update(STYLE)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def new_figure(x_label: str, y_label: str, *, log: bool | str = False, panels: int = 1) -> tuple["Figure", Any]:
    """An empty figure with labelled axes.

    Args:
      x_label: label of the horizontal axis, with its unit.
      y_label: label of the vertical axis.
      log: True for two logarithmic axes, "x" or "y" for one.
      panels: number of axes, side by side; they share the labels.

    Returns:
      The figure and its axes: one, or an array of `panels`.
    """
    figure = _figure(1.4 + 3.6 * panels, 3.4)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for ax in axes:
        ax.set_xlabel(x_label)
        ax.set_xscale("log" if log in (True, "x") else "linear")
        ax.set_yscale("log" if log in (True, "y") else "linear")
    axes[0].set_ylabel(y_label)
    return figure, axes[0] if panels == 1 else axes


def name_ticks(axes: "Axes", x: Sequence[float] = (), y: Sequence[float] = ()) -> None:
    """Plain numbers at these places and no others, for logarithmic axes of few decades."""
    for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
        if len(values):
            axis.set_ticks(values, [f"{value:g}" for value in values])
            axis.set_ticks([], minor=True)


def new_image_grid(rows: Mapping[str, np.ndarray]) -> "Figure":
    """A figure with one labelled row of images each; values in [-1, 1], shapes (n, h, w, 1 or 3)."""
    strips = {label: _strip(np.clip((np.asarray(images) + 1) / 2, 0, 1)) for label, images in rows.items()}
    figure = _figure(8, sum(8 * strip.shape[0] / strip.shape[1] + 0.25 for strip in strips.values()))
    panels = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    for ax, (label, strip) in zip(panels, strips.items(), strict=True):
        ax.imshow(strip, vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(label, loc="left")
        ax.set_axis_off()
    return figure


def _strip(images: np.ndarray) -> np.ndarray:
    """The images side by side, a white column between them."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=1)
    return np.concatenate(list(padded), axis=1)[:, :-1]


def save_figures(figures: Iterable[tuple[str, "Figure"]], folder: Path) -> list[Path]:
    """Saves each (name, figure) as `<name>.png`."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        paths.append(folder / f"{name}.png")
        write_atomic(paths[-1], buffer.getvalue())
    return paths
