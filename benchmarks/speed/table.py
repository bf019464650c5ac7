"""The table that `rnnjax.unroll(kernel="auto")` chooses by on accelerators, from records of the speed benchmark:
`python -m benchmarks.speed.table benchmarks/reference/speed-gpu.jsonl ...` writes rnnjax/kernels/measured.json anew.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax

from benchmarks.results import Record, read_records
from benchmarks.speed.config import parse_shape
from rnnjax import CELLS
from rnnjax.cells.base import PointwiseCell
from rnnjax.kernels.choice import MEASURED, gates

PLATFORMS = {"gpu": "cuda", "tpu": "tpu"}
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


def write(paths: Sequence[str]) -> None:
    found = rows(record for path in paths for record in read_records(Path(path)))
    if not found:
        raise SystemExit("No two kernels were measured on an accelerator in these records: the table stays as it is")
    lines = ",\n".join("  " + json.dumps(row) for row in found)
    MEASURED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(found)} rows in {MEASURED}")


if __name__ == "__main__":
    write(sys.argv[1:])
