"""Seeds, and then the batch, over devices: one compiled program runs all of them."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.errors import UsageError

T = TypeVar("T")


def use_devices(count: int | None = None, seeds: int | None = None) -> None:
    """Makes a CPU as many devices, one a core that this process may use if None; has to run before JAX starts.

    Where the devices do not divide the `seeds`, they share out batches, and take sums over devices in loops. Each sum
    under way holds a thread of the pool they share, which has one a core: those that it waits for must find others.
    More threads than cores cost a fifth of the speed, so that there are no more than that takes.
    """
    number = cores() if count is None else count
    with suppress(RuntimeError):  # it has started: what is there has to do
        jax.config.update("jax_num_cpu_devices", number)
    if seeds is not None and seeds % number:
        os.environ.setdefault("PJRT_NPROC", str(4 * number))
    if count is not None and count > jax.local_device_count():
        raise UsageError(f"--devices: there are {jax.local_device_count()} here, not {count}")


def cores() -> int:
    """Cores that this process may use, on systems that say; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options() -> dict[str, int]:
    """For `jax.jit`: on a CPU LLVM's first level, which compiles samplers four times as fast and runs no slower."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


SEEDS = PartitionSpec("seeds")


def make_mesh(seeds: int, batch: int, devices: int | None = None) -> Mesh:
    """As many devices as divide the seeds share them out; what is left of the devices shares out the batches."""
    local = jax.local_devices()[:devices]
    by_seed = largest_divisor(seeds, len(local))
    by_batch = largest_divisor(batch, len(local) // by_seed)
    axes, types = ("seeds", "batch"), (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((by_seed, by_batch), axes, devices=local[: by_seed * by_batch], axis_types=types)


def over_seeds(
    function: Callable[[Any], T], seeds: int, batch: int, specs: Any, devices: int | None = None
) -> jax.stages.Wrapped:
    """`function` over the leading axis of its argument's leaves, of size `seeds`, jitted and spread over the devices.

    `specs`, like the argument or a prefix of it, has a PartitionSpec for each leaf: where its axes "seeds" and "batch"
    are. A batch that `function` draws by itself is for it to constrain to the axis "batch". Inside a device an
    accelerator runs its seeds together (vmap), a CPU one after the other (`lax.map`): there a batch of small matrix
    products takes 1.3 to 2 times as long as the products by themselves.
    """
    mesh = make_mesh(seeds, batch, devices)
    loop = partial(lax.map, function) if jax.default_backend() == "cpu" else jax.vmap(function)
    spread = jax.shard_map(loop, mesh=mesh, in_specs=SEEDS, out_specs=SEEDS, axis_names={"seeds"})
    put = partial(NamedSharding, mesh)
    shardings = jax.tree.map(put, specs, is_leaf=lambda node: isinstance(node, PartitionSpec))
    return jax.jit(spread, in_shardings=(shardings,), out_shardings=put(SEEDS), compiler_options=compiler_options())


def largest_divisor(size: int, most: int) -> int:
    """The largest number up to `most` that divides `size`."""
    return max(count for count in range(1, most + 1) if size % count == 0)
