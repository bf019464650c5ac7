"""Gradient norms in rnnjax and in PyTorch: the same work, in turn, in one run."""

import collections
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import environment
from benchmarks.devices import SEEDS, cores, over_seeds
from benchmarks.errors import BenchmarkError, Interrupted, UsageError
from benchmarks.gradients.config import Config
from benchmarks.results import Record, Results
from rnnjax import Cell, flow

SETTINGS = Config(lags=(1000,), seeds=8, hidden_size=64, batch_size=16)
USED = ("cells", "lags", "seeds", "hidden_size", "batch_size", "devices")
INPUTS = 8
ROUNDS = 3
"""Rounds of measurement: in each PyTorch once on one thread and once on all cores, and rnnjax five times."""


def run(console: Console, config: Config, out: Path) -> None:
    """Times every cell in both libraries, after checking that they compute the same norms."""
    for field in dataclasses.fields(Config):
        if field.name not in USED and getattr(config, field.name) != getattr(SETTINGS, field.name):
            raise UsageError(f"--{field.name.replace('_', '-')} has no effect on --compare: leave it out")
    try:
        import torch

        from benchmarks.peers import pytorch
    except ImportError:
        raise UsageError("--compare torch: PyTorch is not installed; the extra rnnjax[peers] brings it") from None
    for name in config.cells:
        if name not in pytorch.CELLS:
            raise UsageError(f"--cells: PyTorch has no cell for {name!r}; it has {', '.join(pytorch.CELLS)}")
    here = environment.describe() | {"torch": torch.__version__}
    results = Results.create(out, "gradients-torch", dataclasses.asdict(config), here)
    try:
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("", total=ROUNDS * len(config.cells))
            for name in config.cells:
                progress.update(bar, description=name)
                record = compare_cell(config, name, pytorch.make_runner, lambda: progress.advance(bar))
                results.append([record | {"config": dataclasses.asdict(config), "environment": here}])
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; the cells that were done are in {results.folder}") from None
    print_table(console, results.read())
    console.print(f"Records: {results.folder}", soft_wrap=True, highlight=False)


def compare_cell(config: Config, name: str, make_runner: Callable[..., Any], advance: Callable[[], None]) -> Record:
    """Times and norms of one cell."""
    cell, lag = config.make_cell(name), max(config.lags)
    seeds = jnp.arange(config.seeds)
    params = jax.vmap(lambda seed: cell.init(jax.random.key(seed), INPUTS))(seeds)
    xs = jax.random.normal(jax.random.key(config.data_seed), (config.seeds, lag, config.batch_size, INPUTS))
    specs = SEEDS, PartitionSpec("seeds", None, "batch")
    ours = over_seeds(lambda args: norms_of(cell, *args), config.seeds, config.batch_size, specs, config.devices)
    theirs = make_runner(name, [jax.tree.map(lambda leaf, s=s: leaf[s], params) for s in seeds], np.asarray(xs))
    started = time.perf_counter()
    program = ours.lower((params, xs)).compile()
    compile_seconds = time.perf_counter() - started
    placed = jax.device_put((params, xs), program.input_shardings[0][0])
    check_equal(program(placed), theirs(1))
    threads = sorted({1, cores()})
    times = collections.defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        for count in threads:
            times[f"torch, threads {count}"].append(clock(partial(theirs, count)))
        times["rnnjax"] += [clock(lambda: jax.block_until_ready(program(placed))) for _ in range(5)]
        advance()
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "benchmark": "gradients-torch",
        "cell": name,
        "lag": lag,
        "seconds": times,
        "median": {"rnnjax": medians.pop("rnnjax"), "torch": min(medians.values())},
        "compile_seconds": compile_seconds,
    }


def norms_of(cell: Cell[Any, Any], params: Any, xs: Array) -> Any:
    def loss(carry: Any, ys: Array) -> Array:
        return jnp.square(ys[-1]).sum(-1)

    return flow.gradient_norms(cell, params, xs, loss).per_example


def check_equal(ours: Any, theirs: list[dict[str, Any]]) -> None:
    """Both libraries must find the same dL/dh_t, wherever PyTorch's floats have not run out.

    PyTorch's gradient of c_t, the tensor from which h_t is computed, contains what goes through h_t: ours does not.
    """
    for seed, norms in enumerate(theirs):
        expected, got = norms["h"].numpy(), np.exp(np.asarray(ours.h[seed], np.float64))
        known = expected > 1e-30
        apart = np.quantile(np.abs(got[known] / expected[known] - 1), 0.99) if known.any() else math.nan
        if not apart < 1e-3:
            raise BenchmarkError(f"seed {seed}: gradient norms are not those of PyTorch; apart by {apart:.2g}")


def clock(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def table_rows(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    """Cell, median seconds of PyTorch and of rnnjax, and their ratio, for every cell and in all."""
    medians = [(record["cell"], record["median"]["torch"], record["median"]["rnnjax"]) for record in records]
    medians.append(("all", sum(row[1] for row in medians), sum(row[2] for row in medians)))
    return [(name, f"{torch:.2f}", f"{rnnjax:.3f}", f"{torch / rnnjax:.1f}") for name, torch, rnnjax in medians]


def print_table(console: Console, records: Sequence[Record]) -> None:
    table = Table("cell", title="Gradient norms at every step: median seconds for all seeds")
    for heading in ("PyTorch", "rnnjax", "ratio"):
        table.add_column(heading, justify="right")
    for row in table_rows(records):
        table.add_row(*row, end_section=row[0] == records[-1]["cell"])
    console.print(table)
