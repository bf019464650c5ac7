"""The fused kernels are compiled for their platforms, forward and backward, on a machine that has neither."""

import contextlib

import jax
import jax.numpy as jnp
import pytest
from jax import export
from jax.sharding import AbstractDevice, AbstractMesh

import rnnjax
from tests.kernels.test_blocked import POINTWISE
from tests.support import declared, slow_unless

CASES = [("lstm", "bfloat16"), ("gru", "float32"), *((name, "float32") for name in POINTWISE if name != "gru")]
CALLS = {"tpu": "tpu_custom_call", "cuda": "__gpu$xla.gpu.triton"}


def a_gpu():
    """From jax 0.11 on Triton's lowering asks which GPU it is for; before, there is nothing to tell it with."""
    try:
        device = AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu")
    except TypeError:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device))


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("platform", CALLS)
@pytest.mark.parametrize(("name", "dtype"), slow_unless(CASES[:2], CASES))
def test_lowers(platform, name, dtype):
    """A forward and a backward kernel, for gates that are no whole tiles, with lengths and resets."""
    module = training_step_for(platform, rnnjax.CELLS[name](20), dtype)
    assert module.count(f"@{CALLS[platform]}(") == 2


def training_step_for(platform, cell, dtype, key=None):
    """The program, in MLIR."""

    def training_step(params, xs, lengths, resets):
        def loss(params, xs):
            return rnnjax.unroll(cell, params, xs, kernel="fused", lengths=lengths, resets=resets, key=key)[1].sum()

        return jax.value_and_grad(loss, argnums=(0, 1))(params, xs)

    arguments = [((9, 4, 3), dtype), ((4,), jnp.int32), ((9, 4), bool)]
    shapes = [declared(cell, 3, dtype), *(jax.ShapeDtypeStruct(*each) for each in arguments)]
    allowed = [export.DisabledSafetyCheck.custom_call(target) for target in CALLS.values()]
    with a_gpu() if platform == "cuda" else contextlib.nullcontext():
        exported = export.export(jax.jit(training_step), platforms=[platform], disabled_checks=allowed)(*shapes)
    return exported.mlir_module()


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "units", "dtype"),
    slow_unless([("lstm", 512, "float32")], [("lstm", 512, "float32"), ("gru", 650, "bfloat16")]),
)
def test_lowers_split(name, units, dtype):
    """Cells that fit no multiprocessor of a GPU: a kernel for one step forward, and one for one step backward."""
    module = training_step_for("cuda", rnnjax.CELLS[name](units), dtype)
    assert module.count(f"@{CALLS['cuda']}(") == 2
    assert module.count("output_operand_alias") > 0


def test_what_is_not_split_is_one_line():
    """A cell that fits no multiprocessor, and sums over its units."""
    why = r"its recurrent weights take 261 KiB, .* its units cannot be split, it sums over them"
    with pytest.raises(ValueError, match=rf'(?m)^kernel "fused" cannot run LayerNormLSTM on an NVIDIA GPU: {why}.*$'):
        training_step_for("cuda", rnnjax.cells.LayerNormLSTM(128), "float32")


def test_lowers_spread_over_devices():
    """Inside `jax.shard_map`, which wants all platforms' branches to vary over the same axes; a GPU's is split."""
    cell, spec = rnnjax.LSTM(128), jax.sharding.PartitionSpec
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))

    def gradient(params, xs):
        def loss(params):
            return jax.lax.psum(rnnjax.unroll(cell, params, xs, kernel="fused")[1].sum(), "batch")

        return jax.grad(loss)(params)

    spread = jax.shard_map(gradient, mesh=mesh, in_specs=(spec(), spec(None, "batch")), out_specs=spec())
    shapes = declared(cell, 3), jax.ShapeDtypeStruct((5, 4, 3), jnp.float32)
    allowed = [export.DisabledSafetyCheck.custom_call(CALLS["tpu"])]
    exported = export.export(jax.jit(spread), platforms=["tpu"], disabled_checks=allowed)(*shapes)
    assert exported.mlir_module().count(f"@{CALLS['tpu']}(") == 2
