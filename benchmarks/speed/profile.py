"""Where the time of a training step goes: `python -m benchmarks.speed.profile FILE.jsonl` appends a record a network.

XLA's profiler says when each instruction of the compiled program ran. What an instruction is for is read in the
program: products of matrices, arithmetic, or moving arrays (copies, broadcasts, slices, writes into larger arrays).
"""

import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

import rnnjax
from benchmarks import environment
from benchmarks.commandline import run_alone
from benchmarks.errors import UsageError
from benchmarks.options import check_known, check_several
from benchmarks.speed.config import Shape, parse_shape
from benchmarks.speed.measure import draw

CELLS = ("rnn", "lstm", "gru")
SHAPES = ("1000x32x128", "100x64x512")
REPEATS = 5
PRODUCTS = {"dot", "convolution", "custom-call"}
MOVES = {
    "bitcast",
    "broadcast",
    "concatenate",
    "constant",
    "copy",
    "dynamic-slice",
    "dynamic-update-slice",
    "get-tuple-element",
    "iota",
    "pad",
    "parameter",
    "reshape",
    "reverse",
    "slice",
    "transpose",
    "tuple",
}
CONTROL = {"while", "call", "conditional"}
PURPOSES = ("products", "arithmetic", "moves", "loops")
"""What an instruction is for; `loops`: what a loop takes beside the instructions in it."""


def profile(cell_name: str, text: str) -> dict[str, float]:
    """Seconds of a training step by purpose: medians over some steps."""
    shape = parse_shape(text)
    cell = rnnjax.CELLS[cell_name](shape.hidden)
    params, xs = jax.device_put(draw(cell_name, shape, "float32"))

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        return jnp.square(rnnjax.unroll(cell, params, xs)[1]).mean()

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, xs).compile()
    purposes = instructions(compiled.as_text() or "")
    for _ in range(3):
        jax.block_until_ready(compiled(params, xs))
    samples = [seconds(lambda: jax.block_until_ready(compiled(params, xs)), purposes) for _ in range(REPEATS)]
    return {purpose: statistics.median(sample[purpose] for sample in samples) for purpose in PURPOSES}


def seconds(run: Callable[[], Any], purposes: dict[str, str]) -> dict[str, float]:
    """The seconds of one run by purpose."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        found = jax.profiler.ProfileData.from_file(str(path))
        total = dict.fromkeys(PURPOSES, 0.0)
        for line in (line for plane in found.planes for line in plane.lines):
            events = ((event.start_ns, event.duration_ns, event.name) for event in line.events)
            for name, own in by_themselves(event for event in events if event[2] in purposes):
                total[purposes[name]] += own / 1e9
    return total


def by_themselves(events: Iterable[tuple[float, float, str]]) -> Iterator[tuple[str, float]]:
    """The duration of each event of a thread without those inside it; events are (start, duration, name)."""
    open_events: list[list[Any]] = []  # [end, name, own duration], each inside the one before
    for start, duration, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while open_events and open_events[-1][0] <= start:
            yield open_events[-1][1], open_events.pop()[2]
        if open_events:
            open_events[-1][2] -= duration
        open_events.append([start + duration, name, duration])
    for _, name, own in open_events:
        yield name, own


def instructions(program: str) -> dict[str, str]:
    """The purpose of every instruction of a compiled program in XLA's notation, by name."""
    inside: dict[str, set[str]] = {}  # the operations of every computation
    found: dict[str, tuple[str, str | None]] = {}  # operation, and the computation that a fusion is
    computation = ""
    for line in program.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            computation = header[1]
        elif instruction := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = .*?[\])}] ([a-z][a-z-]*)\(", line):
            name, operation = instruction.groups()
            called = re.search(r"calls=%?([\w.-]+)", line)
            found[name] = operation, called[1] if called else None
            inside.setdefault(computation, set()).add(operation)

    def purpose(operation: str, called: str | None) -> str:
        operations = inside.get(called, set()) if called else {operation}
        if operations & PRODUCTS:
            return "products"
        if operation in CONTROL:
            return "loops"
        return "moves" if operations <= MOVES else "arithmetic"

    return {name: purpose(*each) for name, each in found.items()}


def gates(cell_name: str) -> int:
    """Square matrices in the recurrent weights of a cell."""
    params, _ = draw(cell_name, Shape(1, 1, 1), "float32")
    return int(params.w_h.shape[1])


def _rates_beside_torch() -> Callable[[int, Shape], dict[str, dict[str, float]]]:
    try:
        from benchmarks.speed.products import rates
    except ImportError:
        raise UsageError("--compare torch: PyTorch is not installed; the extra rnnjax[peers] brings it") from None
    return rates


def command(
    file: Path,
    /,
    *,
    cells: tuple[str, ...] = CELLS,
    shapes: tuple[str, ...] = SHAPES,
    compare: Literal["torch"] | None = None,
) -> None:
    """Find out where the time of a training step goes.

    Prints the seconds of every cell on every shape by purpose, and appends them as records to a file.

    Parameters
    ----------
    file
        File of records to append to, or to begin.
    cells
        Cells, by their names in rnnjax.CELLS.
    shapes
        Sizes of the work, each TIMExBATCHxHIDDEN, with as many inputs as hidden units.
    compare
        Time the products with the recurrent weights by themselves too, beside those of PyTorch.
    """
    check_several("--cells", cells)
    check_known("--cells", cells, rnnjax.CELLS)
    check_several("--shapes", shapes)
    for shape in shapes:
        parse_shape(shape)
    rates = _rates_beside_torch() if compare else None
    try:
        file.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"FILE: cannot write to {file}: {error.strerror}") from None
    here = environment.describe()
    for shape in shapes:
        for cell in cells:
            spent = profile(cell, shape)
            record = {"cell": cell, "shape": shape, "seconds": spent, "environment": here}
            if rates is not None:
                record["gflops"] = rates(gates(cell), parse_shape(shape))
            with file.open("a", encoding="utf-8") as records:
                records.write(json.dumps(record) + "\n")
            print(f"{cell} {shape}:", ", ".join(f"{name} {value:.3g} s" for name, value in spent.items()))


if __name__ == "__main__":
    sys.exit(run_alone("python -m benchmarks.speed.profile", command, sys.argv[1:]))
