"""From runs to records, and from records to the rows of tables.

A record is one epoch of a model, or with "kind" "result" what came of it, or with "kind" "flow" the gradient's norms
over the steps of one of its layers. A model has a cell and a seed; "run" is the name of both.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from benchmarks.classify.config import Config
from benchmarks.results import Record, pick

UNKNOWN = {"valid_accuracy": math.nan, "correct": None, "majority": math.nan}
"""Of a model that diverged at once."""
HEADINGS = ("data", "cell", "parameters", "minutes", "validation", "test", "95 % interval", "seeds", "majority")


def make_records(
    config: Config, run: str, history: Sequence[Mapping[str, float]], result: Record | None, environment: Record
) -> Iterator[Record]:
    """One record an epoch, and one of the result if it is there."""
    for entry in history:
        yield _about(config, run, environment, kind="epoch") | dict(entry)
    if result is not None:
        yield _about(config, run, environment, kind="result") | UNKNOWN | result


def make_flow_records(config: Config, run: str, norms: Iterable[Record], environment: Record) -> Iterator[Record]:
    """One record a layer and direction."""
    for each in norms:
        yield _about(config, run, environment, kind="flow") | each


def _about(config: Config, run: str, environment: Record, *, kind: str) -> Record:
    cell, seed = config.runs[run]
    about = {"benchmark": "classify", "kind": kind, "run": run, "cell": cell, "seed": seed}
    return about | {"config": dataclasses.asdict(config), "environment": environment}


def wilson(correct: int, examples: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share that was found as `correct` of `examples`:

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),    z the normal quantile of the level

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    American Statistical Association 22, 1927.
    """
    share, z = correct / examples, NormalDist().inv_cdf((1 + level) / 2)
    middle = share + z**2 / (2 * examples)
    reach = z * math.sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2))
    return tuple((middle + side * reach) / (1 + z**2 / examples) for side in (-1, 1))  # type: ignore[return-value]


def tested(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """The results of the models that could be tested, the worst first."""
    found = [result for result in pick(records, kind="result", **wanted) if result["correct"] is not None]
    return sorted(found, key=lambda result: result["correct"])


def median(results: Sequence[Record]) -> Record:
    """The result in the middle, the worse of two."""
    return results[(len(results) - 1) // 2]


def table_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Headings, and a row for each cell of each run: the model in the middle of its seeds, and the range of all."""
    rows = []
    cells = {(repr(each["config"]), each["cell"]): each["config"] for each in pick(records, kind="result")}
    for (_, cell), config in cells.items():
        own = [record for record in pick(records, cell=cell) if record["config"] == config]
        everyone, results = pick(own, kind="result"), tested(own)
        diverged = sum(result["status"] != "ok" for result in everyone)
        name = f"{cell} ({diverged} of {len(everyone)} diverged)" if diverged else cell
        about = config["data"], name, f"{everyone[0]['parameters']:,}"
        if not results:
            rows.append((*about, *["-"] * (len(HEADINGS) - len(about))))
            continue
        middle = median(results)
        ended = {result["run"] for result in everyone}
        epochs = (epoch for epoch in pick(own, kind="epoch") if epoch["run"] in ended)  # others were interrupted
        minutes = sum(epoch["seconds"] for epoch in epochs) / len(everyone) / 60
        shares = [result["correct"] / result["examples"] for result in results]
        low, high = wilson(middle["correct"], middle["examples"])
        rows.append(
            (
                *about,
                f"{minutes:.1f}",
                f"{float(middle['valid_accuracy']):.1%}",
                f"{middle['correct'] / middle['examples']:.1%}",
                f"{100 * low:.1f}-{high:.1%}",
                f"{len(results)}: {100 * shares[0]:.1f}-{shares[-1]:.1%}",
                f"{float(middle['majority']):.1%}",
            )
        )
    return [HEADINGS, *rows]
