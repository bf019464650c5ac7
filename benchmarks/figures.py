"""How the figures of all benchmarks look, and how they are written."""

from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rnnjax import flow

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Okabe and Ito's palette, which the colour-blind can tell apart, with grey for its yellow."""
STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "rnnjax",
}


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Writes a figure as PNG and SVG; returns the SVG file. It has to be drawn, and saved, in `STYLE`."""
    figure.savefig(folder / f"{name}.png", dpi=150)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return folder / f"{name}.svg"


def in_style() -> Any:
    """The context that figures are drawn and saved in."""
    return matplotlib.rc_context(STYLE)


def median_band(samples: np.ndarray) -> flow.Band:
    """The median over seeds with its 95 % bootstrap band."""
    return flow.bootstrap(jax.random.key(0), samples)
