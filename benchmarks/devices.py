"""Seeds over devices: one compiled program runs all of them."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

T = TypeVar("T")


def use_all_cores() -> None:
    """Gives the CPU platform one device a core that this process may use; has to run before JAX starts."""
    jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """Cores that this process may use, on systems that say; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options() -> dict[str, int]:
    """For `jax.jit`: on a CPU LLVM's first level, which compiles samplers four times as fast and runs no slower."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def over_seeds(function: Callable[[Any], T], seeds: int) -> jax.stages.Wrapped:
    """`function` over the leading axis of its argument's leaves, of size `seeds`, jitted and spread over the devices.

    Inside a device an accelerator runs its seeds together (vmap), a CPU one after the other (`lax.map`): there a
    batch of small matrix products takes 1.3 to 2 times as long as the products by themselves.
    """
    devices = jax.local_devices()
    devices = devices[: max(count for count in range(1, len(devices) + 1) if seeds % count == 0)]
    loop = partial(lax.map, function) if devices[0].platform == "cpu" else jax.vmap(function)
    mesh = jax.make_mesh((len(devices),), ("seeds",), devices=devices, axis_types=(AxisType.Auto,))
    spec = PartitionSpec("seeds")
    sharding = NamedSharding(mesh, spec)
    spread = jax.shard_map(loop, mesh=mesh, in_specs=spec, out_specs=spec)
    return jax.jit(spread, in_shardings=sharding, out_shardings=sharding, compiler_options=compiler_options())
