"""Attention maps, from records."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.results import Record, pick


def attention_maps(records: Sequence[Record], title: str) -> Figure:
    """What the first trained cell looked at when it wrote some of the test texts: a row a token, darker is more."""
    result = next(result for result in pick(records, kind="result") if "attention" in result)
    maps = result["attention"]
    figure = Figure(figsize=(4.6 * len(maps), 4.8))
    for axes, each in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
        axes.imshow(np.array(each["weights"], float), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        slanted = {"rotation": 60, "ha": "right"} if max(map(len, each["source"])) > 1 else {}
        axes.set_xticks(range(len(each["source"])), each["source"], **slanted)
        axes.set_yticks(range(len(each["written"])), each["written"])
        axes.grid(False)
        axes.set_xlabel("read")
    figure.supylabel("written")
    figure.suptitle(f"{title}, {result['cell']}: attention")
    return figure
