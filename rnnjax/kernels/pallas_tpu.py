"""The loop over time on TPUs, in Mosaic.

The grid is blocks of the batch, and for each of them blocks of time one after the other, which are copied in and out
while their neighbours are computed. The recurrent weights and the carry stay in VMEM.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from rnnjax.kernels.base import product_precision
from rnnjax.kernels.pallas import Loop, Obstacle

NAME = "a TPU"
PLATFORM = "tpu"
VMEM = 14 * 2**20
"""Bytes that blocks may take of the 16 MiB which XLA gives a kernel by default."""
PRECISIONS = ("default", "fastest", "bfloat16", "highest", "float32")
"""Those of products of matrices in Mosaic, as `jax.default_matmul_precision` names them."""
STEPS = 64
"""The most in a block of time: copies of longer ones are hidden no better."""


def lanes(units: int) -> int:
    """Whole registers."""
    return -(-units // 128) * 128


def rows(batch: int) -> int:
    """Whole registers, up to what a product of matrices makes good use of its weights with."""
    return min(128, -(-batch // 8) * 8)


def scan(loop: Loop, *, interpret: bool = False) -> list[Array]:
    """See `rnnjax.kernels.pallas`."""
    time, batch, _ = loop.xs[0].shape
    height = rows(batch)
    once = _bytes([loop.matrix, *loop.vectors]) + 3 * _bytes([*loop.rows, *loop.carry], height)
    each = 2 * _bytes([*loop.xs, *loop.ys], height)  # one block is copied while the other is worked on
    if not interpret:
        check(loop)
    steps = min(time, STEPS, (VMEM - once) // each)
    if steps < 1:
        raise Obstacle(f"its recurrent weights and one step take {(once + each) >> 20} MiB of {VMEM >> 20} in VMEM")
    blocks = -(-time // steps)

    def kernel(*refs: Any) -> None:
        matrix, vectors, rows, starts, xs, ys, carry = loop.share(refs)
        steady, block = loop.read(rows), pl.program_id(1)

        @pl.when(block == 0)
        def _() -> None:
            loop.write(carry, loop.read(starts))

        def step(number: Any, carry: Any) -> Any:
            at = count - 1 - number if loop.reverse else number
            carry, y = loop.step(loop.blocks(matrix), loop.read(vectors), steady, carry, loop.read(xs, at))
            loop.write(ys, y, at)
            return carry

        # The last block of the time, the first one in reverse, may be shorter.
        first = (blocks - 1 - block if loop.reverse else block) * steps
        count = steps if time % steps == 0 else jnp.minimum(steps, time - first)
        loop.write(carry, lax.fori_loop(0, count, step, loop.read(carry)))

    def over_batch(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec((height, array.shape[-1]), lambda b, t: (b, 0))

    def over_time(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec(
            (steps, height, array.shape[-1]), lambda b, t: (blocks - 1 - t if loop.reverse else t, b, 0)
        )

    whole = [pl.BlockSpec(memory_space=pltpu.VMEM) for _ in (loop.matrix, *loop.vectors)]
    ys: list[Array] = pl.pallas_call(
        kernel,
        grid=(batch // height, blocks),
        in_specs=[*whole, *map(over_batch, (*loop.rows, *loop.carry)), *map(over_time, loop.xs)],
        out_specs=[*map(over_time, loop.ys)],
        out_shape=loop.ys,
        scratch_shapes=[pltpu.VMEM((height, array.shape[-1]), array.dtype) for array in loop.carry],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="fused",
    )(*loop.arrays())
    return ys


def check(loop: Loop) -> None:
    """Raises `Obstacle` for what Mosaic does not compile."""
    dtypes = {str(array.dtype) for array in loop.arrays()} - {"float32", "bfloat16", "int32"}
    if dtypes:
        raise Obstacle(f"it computes in float32 and bfloat16, not in {' and '.join(sorted(dtypes))}")
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise Obstacle("it has no 64-bit integers, which jax_enable_x64 makes of all")
    if product_precision() not in PRECISIONS:
        raise Obstacle(f"it multiplies in no precision {product_precision()!r}")


def _bytes(arrays: list[Any], height: int | None = None) -> int:
    """Of one step of the arrays in whole registers; all of their rows, or `height`."""
    return sum((height or max(8, len(array))) * lanes(array.shape[-1]) * array.dtype.itemsize for array in arrays)
