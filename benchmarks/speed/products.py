"""The products of a recurrent step by themselves: XLA's, in a loop of a compiled program, beside PyTorch's.

Both multiply the same hidden state by the same weights, one product after the other: the ratio says what faster
products alone could save. XLA does it in two layouts, the batch in front as in the rest of the package, and behind.
"""

import statistics
from collections.abc import Callable

import jax
import numpy as np
import torch
from jax import Array, lax

from benchmarks.peers.program import Routine, clock
from benchmarks.peers.pytorch import routine
from benchmarks.speed.config import Shape

ROUNDS = 7
FLOPS = 1e9
"""Of a sample, about."""


def rates(gates: int, shape: Shape) -> dict[str, dict[str, float]]:
    """GFLOP/s of the product with the recurrent weights ("forward") and with their transpose ("backward"), by library.

    Medians over rounds that both take in turn; PyTorch on one thread or on all cores, whichever is faster.
    """
    wide = gates * shape.hidden
    sizes = {"forward": (shape.hidden, wide), "backward": (wide, shape.hidden)}
    return {name: _rates(shape.batch, *size) for name, size in sizes.items()}


def _rates(batch: int, inputs: int, outputs: int) -> dict[str, float]:
    random = np.random.RandomState(0)
    x, w = (random.standard_normal(size).astype(np.float32) for size in ((batch, inputs), (inputs, outputs)))
    flops = 2 * batch * inputs * outputs
    count = max(1, round(FLOPS / flops))
    rivals = {"xla": _xla(x, w, count), "xla, batch behind": _xla_behind(x, w, count), "torch": _torch(x, w, count)}
    samples = [{name: clock(rival) for name, rival in rivals.items()} for _ in range(1 + ROUNDS)][1:]
    return {name: count * flops / 1e9 / statistics.median(sample[name] for sample in samples) for name in rivals}


def _xla(x: np.ndarray, w: np.ndarray, count: int) -> Routine:
    width = min(w.shape)
    return _chain(lambda x, w: x.at[:, :width].add(1e-9 * (x @ w)[:, :width]), x, w, count)


def _xla_behind(x: np.ndarray, w: np.ndarray, count: int) -> Routine:
    width = min(w.shape)
    transposed = np.ascontiguousarray(x.T), np.ascontiguousarray(w.T)
    return _chain(lambda x, w: x.at[:width].add(1e-9 * (w @ x)[:width]), *transposed, count)


def _chain(step: Callable[[Array, Array], Array], x: np.ndarray, w: np.ndarray, count: int) -> Routine:
    """A trace of each product goes into what the next one multiplies, or XLA would make only one."""

    def products(x: Array, w: Array) -> Array:
        return lax.scan(lambda x, _: (step(x, w), None), x, None, length=count)[0]

    compiled, arguments = jax.jit(products).lower(x, w).compile(), jax.device_put((x, w))
    return Routine(lambda: jax.block_until_ready(compiled(*arguments)))


def _torch(x: np.ndarray, w: np.ndarray, count: int) -> Routine:
    left, right = torch.tensor(x), torch.tensor(w)
    out = torch.empty(len(x), w.shape[1])

    def work() -> None:
        for _ in range(count):
            torch.mm(left, right, out=out)

    return routine(work, "cpu")
