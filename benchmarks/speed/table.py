"""The table that `rnnjax.unroll(kernel="auto")` chooses by, from records of the speed benchmark.

`python -m benchmarks.speed.table results/speed/*/records.jsonl` writes it to rnnjax/kernels/measured.json.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import jax

from benchmarks.commandline import run_alone
from benchmarks.errors import UsageError
from benchmarks.results import Record, read_records
from benchmarks.speed.config import parse_shape
from rnnjax import CELLS
from rnnjax.cells.base import PointwiseCell
from rnnjax.kernels.choice import MEASURED, gates

PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
"""As records name them, and as programs are compiled for them."""
KERNELS = ("scan", "blocked", "fused")
"""What "auto" takes: all derivatives and `jax.vmap` work with each."""


def rows(records: Iterable[Record]) -> list[Record]:
    """One a platform, precision, cell and shape on which at least two kernels computed the same and were timed."""
    found: dict[str, Record] = {}
    for record in records:
        where = record["environment"]
        counts = record["library"] == "rnnjax" and record["kernel"] in KERNELS and record["status"] == "ok"
        if where["platform"] not in PLATFORMS or not counts or record["remat"] or record["devices"] > 1:
            continue
        time, batch, hidden = parse_shape(record["shape"])
        cell = CELLS[record["cell"]](hidden)
        if not isinstance(cell, PointwiseCell):
            continue
        row = {
            "platform": PLATFORMS[where["platform"]],
            "device": where["device"],
            "dtype": record["config"]["dtype"],
            "gates": gates(cell, jax.eval_shape(lambda cell=cell: cell.init(jax.random.key(0), 1))),
            "time": time,
            "batch": batch,
            "hidden": hidden,
        }
        times = found.setdefault(json.dumps(row), row | {"milliseconds": {}})["milliseconds"]
        times[record["kernel"]] = float(f"{1e3 * record['step']['median']:.4g}")
    return [row for row in found.values() if len(row["milliseconds"]) > 1]


def command(*records: Path) -> None:
    """Make the table that rnnjax.unroll(kernel="auto") chooses by.

    Takes the records of runs of the speed benchmark that timed at least two kernels, in one precision or in several:
    python -m benchmarks speed --libraries rnnjax --kernels scan blocked, or --platform gpu. They replace all rows of
    the devices that they are of; rows of other devices stay.

    Parameters
    ----------
    records
        Files records.jsonl of the speed benchmark.
    """
    if not records:
        raise UsageError("RECORDS: give at least one file")
    found = rows(record for path in records for record in speed_records(path))
    if not found:
        raise UsageError("RECORDS: no two kernels are timed in them; the table stays as it is")
    again = {_where(row) for row in found}
    kept = [row for row in json.loads(MEASURED.read_text(encoding="utf-8")) if _where(row) not in again]
    lines = ",\n".join("  " + json.dumps(row) for row in [*kept, *found])
    MEASURED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(found)} rows in {MEASURED}, beside {len(kept)} of other devices")


def _where(row: Record) -> tuple[str, str]:
    return row["platform"], row["device"]


def speed_records(path: Path) -> list[Record]:
    """The records of a file, which must be of the speed benchmark."""
    try:
        found = read_records(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"RECORDS: cannot read {path}: {error}") from None
    if not found or any(record.get("benchmark") != "speed" for record in found):
        raise UsageError(f"RECORDS: {path} does not hold records of the speed benchmark")
    return found


if __name__ == "__main__":
    sys.exit(run_alone("python -m benchmarks.speed.table", command, sys.argv[1:]))
