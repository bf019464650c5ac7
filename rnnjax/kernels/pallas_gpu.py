"""The loop over time on NVIDIA GPUs, in Triton.

One program takes a few examples through all steps: it loads the recurrent weights once, keeps them and the carry in
its multiprocessor, and waits for no other program. That needs weights which one multiprocessor can hold.

It is Triton, although Pallas means to replace that by Mosaic GPU, because a product of matrices has no lowering there
(jax 0.10 to 0.12): only the instructions of one generation of GPUs or another, between barriers and asynchronous copies
that can be tried on such a GPU alone.
"""

from typing import Any

import jax
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from rnnjax.kernels.pallas import Constant, Loop, Obstacle

NAME = "an NVIDIA GPU"
PLATFORM = "cuda"
SHARED = 227 * 2**10
"""Bytes of shared memory that one program may have on an H100, for programs that are made where no GPU is."""
ROWS = 16
"""The fewest that a product of matrices takes: with few rows a program, many multiprocessors take part."""


def lanes(units: int) -> int:
    """A power of two, of at least 16."""
    return max(16, 1 << (units - 1).bit_length())


def rows(batch: int) -> int:
    return ROWS


def room() -> int:
    """Bytes of constants: Triton keeps them in shared memory, and needs up to an eighth of its size beside them."""
    try:
        devices = jax.devices(PLATFORM)
    except RuntimeError:
        devices = []
    shared = [getattr(device, "shared_memory_per_block_optin", SHARED) for device in devices]
    return min(shared, default=SHARED) * 7 // 8


def scan(loop: Loop, *, interpret: bool = False) -> list[Array]:
    """See `rnnjax.kernels.pallas`."""
    time, batch, _ = loop.xs[0].shape
    size, most = sum(array.size * array.dtype.itemsize for array in loop.constants), room()
    if size > most:
        raise Obstacle(f"its recurrent weights take {size >> 10} KiB, and a multiprocessor keeps {most >> 10}")

    def kernel(*refs: Any) -> None:
        constants, rows, starts, xs, ys, _ = loop.share(refs)
        held, steady = [_load(loop.constant(ref)) for ref in constants], loop.read(rows)

        def step(number: Any, state: Any) -> Any:
            carry, x = state
            ahead = read(lax.min(number + 1, time - 1))  # on its way while this step is computed
            carry, y = loop.body(held, steady, carry, x)
            loop.write(ys, y, at(number))
            return carry, ahead

        def read(number: Any) -> Any:
            return loop.read(xs, at(number))

        def at(number: Any) -> Any:
            return time - 1 - number if loop.reverse else number

        lax.fori_loop(0, time, step, (loop.read(starts), read(0)))

    def whole(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec(array.shape, lambda block: (0, 0))

    def over_batch(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec((ROWS, array.shape[-1]), lambda block: (block, 0))

    def over_time(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec((time, ROWS, array.shape[-1]), lambda block: (0, block, 0))

    ys: list[Array] = pl.pallas_call(
        kernel,
        grid=(batch // ROWS,),
        in_specs=[*map(whole, loop.constants), *map(over_batch, (*loop.rows, *loop.carry)), *map(over_time, loop.xs)],
        out_specs=[*map(over_time, loop.ys)],
        out_shape=loop.ys,
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=1),
        interpret=interpret,
        name="fused",
    )(*loop.arrays())
    return ys


def _load(constant: Constant) -> Constant:
    """Loaded once, to be kept."""
    rows, columns = constant.shape
    blocks = [[constant.block(row, column) for column in range(columns)] for row in range(rows)]
    return constant._replace(block=lambda row, column: blocks[row][column])
