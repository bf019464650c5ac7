"""The loop over time on NVIDIA GPUs, in Triton, in two ways.

Recurrent weights that one multiprocessor can hold: one program takes a few examples through all steps. It loads the
weights once, keeps them and the carry in its multiprocessor, and waits for no other program.

Larger ones are split: a step is one launch of programs that each have a few examples and a tile of the units, with all
of its gates. Nothing but the end of a launch makes programs wait for each other, so the step is cut where every unit
needs all others: a program ends its tile of one step, from the product on, and begins that of the next, up to what the
product will be of. The weights come out of the second-level cache in every step.

It is Triton, although Pallas means to replace that by Mosaic GPU, because a product of matrices has no lowering there
(jax 0.10 to 0.12): only the instructions of one generation of GPUs or another, between barriers and asynchronous copies
that can be tried on such a GPU alone.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from rnnjax.cells.base import carry_dtype
from rnnjax.kernels.apart import Parts
from rnnjax.kernels.base import vary_with
from rnnjax.kernels.pallas import Loop, Matrix, Obstacle, like, product

NAME = "an NVIDIA GPU"
PLATFORM = "cuda"
SHARED = 227 * 2**10
"""Bytes of shared memory that one program may have on an H100, for programs that are made where no GPU is."""
ROWS = 16
"""The fewest that a product of matrices takes: with few rows a program, many multiprocessors take part."""
WHOLE = 256
"""Units of which no multiprocessor holds more, whatever the cell."""
TILE = 32
"""Units that one program works on where they are split."""
DEPTH = 64
"""Units that it multiplies at a time, while it loads the weights of the next: a multiple of `TILE`."""


def lanes(units: int) -> int:
    """A power of two, of at least 16, where one program may have all of them; else a multiple of `DEPTH`."""
    return max(16, 1 << (units - 1).bit_length()) if units <= WHOLE else -(-units // DEPTH) * DEPTH


def rows(batch: int) -> int:
    return ROWS


def scan(loop: Loop, *, interpret: bool = False) -> list[Array]:
    """See `rnnjax.kernels.pallas`."""
    size, most = sum(array.size * array.dtype.itemsize for array in (loop.matrix, *loop.vectors)), room()
    if size <= most:
        return _whole(loop, interpret)
    if loop.mixes:
        held = f"its recurrent weights take {size >> 10} KiB, and a multiprocessor keeps {most >> 10}"
        raise Obstacle(f"{held}; its units cannot be split, it sums over them")
    return _split(loop, interpret)


def room() -> int:
    """Bytes of weights: Triton keeps them in shared memory, and needs up to an eighth of its size beside them."""
    try:
        devices = jax.devices(PLATFORM)
    except RuntimeError:
        devices = []
    shared = [getattr(device, "shared_memory_per_block_optin", SHARED) for device in devices]
    return min(shared, default=SHARED) * 7 // 8


# --- all steps in one launch ------------------------------------------------------------------------------------------


def _whole(loop: Loop, interpret: bool) -> list[Array]:
    time, batch, _ = loop.xs[0].shape

    def kernel(*refs: Any) -> None:
        matrix, vectors, rows, starts, xs, ys, _ = loop.share(refs)
        held = _load(loop.blocks(matrix)), loop.read(vectors), loop.read(rows)

        def step(number: Any, state: Any) -> Any:
            carry, x = state
            ahead = read(lax.min(number + 1, time - 1))  # on its way while this step is computed
            carry, y = loop.step(*held, carry, x)
            loop.write(ys, y, loop.at(number))
            return carry, ahead

        def read(number: Any) -> Any:
            return loop.read(xs, loop.at(number))

        lax.fori_loop(0, time, step, (loop.read(starts), read(0)))

    def whole(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec(array.shape, lambda block: (0, 0))

    def over_batch(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec((ROWS, array.shape[-1]), lambda block: (block, 0))

    def over_time(array: Any) -> pl.BlockSpec:
        return pl.BlockSpec((time, ROWS, array.shape[-1]), lambda block: (0, block, 0))

    weights, examples = (loop.matrix, *loop.vectors), (*loop.rows, *loop.carry)
    ys: list[Array] = pl.pallas_call(
        kernel,
        grid=(batch // ROWS,),
        in_specs=[*map(whole, weights), *map(over_batch, examples), *map(over_time, loop.xs)],
        out_specs=[*map(over_time, loop.ys)],
        out_shape=loop.ys,
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=1),
        interpret=interpret,
        name="fused",
    )(*loop.arrays())
    return ys


def _load(matrix: Matrix) -> Matrix:
    """Loaded once, to be kept."""
    rows, columns = matrix.shape
    blocks = [[matrix.block(row, column) for column in range(columns)] for row in range(rows)]
    return matrix._replace(block=lambda row, column: blocks[row][column])


# --- one launch a step ------------------------------------------------------------------------------------------------


def _split(loop: Loop, interpret: bool) -> list[Array]:
    (time, batch, _), tile = loop.xs[0].shape, min(TILE, loop.lanes)
    weights = jax.tree.map(loop.apart, (loop.matrix, loop.vectors))
    examples = jax.tree.map(loop.apart, (loop.rows, loop.xs))
    state = _begun(loop)
    given = len(jax.tree.leaves((weights, examples))) + 1

    def kernel(number_ref: Any, weights: Any, examples: Any, state: Any, *new_state: Any) -> None:
        (matrix, vectors), (rows, xs), (multiplied, carry, _) = weights, examples, state
        number, constants = number_ref[0], (_read(vectors), _read(rows))
        slot, other = number % 2, (number + 1) % 2
        first = pl.program_id(1) * tile

        # What a step does before its product is done twice, for that and for the rest: it is cheaper than memory.
        _, rest = loop.body(*constants, _read(carry, slot), _read(xs, loop.at(number)))
        ended, y = rest(_product(multiplied, slot, matrix))
        begun, _ = loop.body(*constants, ended, _read(xs, loop.at(jnp.minimum(number + 1, time - 1))))

        new_multiplied, new_carry, ys = new_state
        _write([new_multiplied], [loop.cleared(begun, loop.units - first)], other)
        _write(new_carry, ended, other)
        _write(ys, y, loop.at(number))

    def over_units(array: Any) -> pl.BlockSpec:
        height, gates, _ = array.shape
        return pl.BlockSpec((height, gates, tile), lambda block, unit: (0, 0, unit))

    def over_both(array: Any) -> pl.BlockSpec:
        *front, _, gates, width = array.shape
        zeros, is_flag = (0,) * len(front), width == 1
        shape = (*front, ROWS, gates, min(tile, width))
        return pl.BlockSpec(shape, lambda block, unit: (*zeros, block, 0, 0 if is_flag else unit))

    def all_units(array: Any) -> pl.BlockSpec:
        slots, _, gates, width = array.shape
        return pl.BlockSpec((slots, ROWS, gates, width), lambda block, unit: (0, block, 0, 0))

    tiles = jax.tree.map(over_both, state)
    launch = pl.pallas_call(
        kernel,
        grid=(batch // ROWS, loop.lanes // tile),
        in_specs=[
            pl.BlockSpec((1,), lambda block, unit: (0,)),
            jax.tree.map(over_units, weights),
            jax.tree.map(over_both, examples),
            (all_units(state[0]), *tiles[1:]),
        ],
        out_specs=tiles,
        out_shape=jax.tree.map(lambda array: like(array, array.shape), state),
        input_output_aliases={given + place: place for place in range(len(jax.tree.leaves(state)))},
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
        name="fused",
    )

    def step(number: Any, state: Any) -> Any:
        return launch(jnp.full(1, number, jnp.int32), weights, examples, state)

    _, _, ys = lax.fori_loop(0, time, step, state)
    return [array.reshape(y.shape) for array, y in zip(ys, loop.ys, strict=True)]


def _begun(loop: Loop) -> tuple[Array, list[Array], list[Array]]:
    """What launches hand on, in place: what the next step multiplies and the carry, in two slots, and the outputs.

    A launch reads one slot and writes the other: its programs run in any order.
    """
    vectors, rows, carry = map(loop.read, (loop.vectors, loop.rows, loop.carry))
    multiplied, _ = loop.body(vectors, rows, carry, loop.read(loop.xs, loop.at(0)))
    starts = jnp.stack(loop.cleared(multiplied, loop.units), axis=1), [*map(loop.apart, loop.carry)]
    ys = [loop.apart(jnp.zeros(y.shape, y.dtype)) for y in loop.ys]
    return *jax.tree.map(lambda array: jnp.stack([array, array]), starts), vary_with(ys, starts)


def _product(multiplied: Any, slot: Any, matrix: Any) -> Parts:
    """Of what all units hand on with a tile of every gate's columns."""
    _, _, gates, lanes = multiplied.shape
    (_, columns, tile), depth = matrix.shape, min(DEPTH, lanes)

    def add(gate: int, number: Any, sums: Parts) -> Parts:
        at = number * depth
        part = multiplied[slot, :, gate, pl.ds(at, depth)]
        blocks = (matrix[pl.ds(gate * lanes + at, depth), column] for column in range(columns))
        return tuple(total + product(part, block) for total, block in zip(sums, blocks, strict=True))

    sums = (jnp.zeros((ROWS, tile), carry_dtype(matrix.dtype)),) * columns
    for gate in range(gates):
        sums = lax.fori_loop(0, lanes // depth, partial(add, gate), sums)
    return sums


def _read(refs: list[Any], *index: Any) -> list[Parts]:
    """The parts of what references hold, `[rows, gates, lanes]`, at an index of the axes in front."""
    return [tuple(ref[(*index, slice(None), gate)] for gate in range(ref.shape[-2])) for ref in refs]


def _write(refs: list[Any], values: list[Parts], *index: Any) -> None:
    for ref, parts in zip(refs, values, strict=True):
        for gate, part in enumerate(parts):
            ref[(*index, slice(None), gate)] = part.astype(ref.dtype)
