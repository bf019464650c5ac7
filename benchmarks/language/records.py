"""From epochs to records. A record is one epoch of one cell, or, with "kind" "result", what came of it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.language.config import Config
from benchmarks.results import Record
from rnnjax.train import perplexity


def make_records(
    config: Config, cell: str, history: Sequence[Mapping[str, float]], result: Record | None, environment: Record
) -> Iterator[Record]:
    """One record an epoch, and one of the result if it is there."""
    about = {"config": dataclasses.asdict(config), "environment": environment}
    for entry in history:
        losses = {"train_perplexity": perplexity(entry["loss"]), "valid_perplexity": perplexity(entry["valid_loss"])}
        yield {"benchmark": "language", "cell": cell, "kind": "epoch", **entry, **losses, **about}
    if result is not None:
        result = {"test_loss": math.nan, **result}  # a model that diverged at once has none
        losses = {f"{name}_perplexity": perplexity(result[f"{name}_loss"]) for name in ("valid", "test")}
        yield {"benchmark": "language", "cell": cell, "kind": "result", **result, **losses, **about}
