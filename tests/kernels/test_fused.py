"""The loop over time in one kernel, interpreted, against the scan in float64: every backend, the same tests."""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells.base import HiddenCarry, PointwiseCell
from rnnjax.kernels import fused, pallas_gpu, pallas_tpu
from rnnjax.kernels.apart import NotApart, take_apart
from tests.kernels.test_blocked import POINTWISE, draw, each, loss, squares
from tests.support import declared, normal_like, relative_error, slow_unless

BACKENDS = {"tpu": pallas_tpu, "gpu": pallas_gpu, "gpu-split": pallas_gpu}
# What differs between cells does not between backends, nor from one way to the other.
CASES = [("gru", "tpu", False), ("gru", "gpu", True), ("gru", "gpu-split", False)]
CASES += [(name, ["tpu", "gpu"][place % 2], place % 3 == 0) for place, name in enumerate(POINTWISE) if name != "gru"]
CASES += [("lstm", "gpu-split", True), ("rnn", "gpu-split", False), ("lstm-1997", "gpu-split", True)]


@pytest.fixture
def backend(request, monkeypatch):
    monkeypatch.setattr(fused, "interpreted", BACKENDS.get(request.param))
    monkeypatch.setattr(pallas_tpu, "STEPS", 3)
    if request.param == "gpu-split":
        split(monkeypatch)


def split(monkeypatch):
    """Of 5 units in 16 lanes: a whole tile, one that ends in padding, and two of nothing else."""
    monkeypatch.setattr(pallas_gpu, "room", lambda: 0)
    monkeypatch.setattr(pallas_gpu, "TILE", 4)
    monkeypatch.setattr(pallas_gpu, "DEPTH", 8)


def ragged(xs):
    """With padding of NaN, gaps and borders."""
    random = np.random.RandomState(0)
    mask, resets, lengths = random.rand(7, 4) < 0.8, random.rand(7, 4) < 0.3, np.array([7, 0, 5, 1])
    xs = np.where(mask[..., None] & (np.arange(7)[:, None] < lengths)[..., None], xs, np.nan).astype(xs.dtype)
    return xs, {"lengths": lengths, "mask": mask, "resets": resets}


@pytest.mark.usefixtures("x64", "backend")
class TestFused:
    """A kernel that is one loop."""

    @pytest.mark.parametrize(("name", "backend", "reverse"), slow_unless(CASES[:3], CASES), indirect=["backend"])
    def test_is_the_scan(self, name, reverse):
        """Carry, outputs and all gradients: odd sizes, padding of NaN, gaps, borders, a carry of any sign.

        On a TPU in three blocks of time, one of them shorter.
        """
        cell, params, xs, carry = draw(name, time=7)
        xs, sequences = ragged(xs)

        def outcome(kernel):
            value = partial(loss, cell, kernel, reverse=reverse, **sequences)
            return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))(params, xs, carry)

        chex.assert_trees_all_close(outcome("fused"), outcome("scan"), rtol=1e-11, atol=1e-12)

    @pytest.mark.slow
    @pytest.mark.parametrize(("backend", "name"), [("gpu", "rnn"), ("gpu-split", "rnn")], indirect=["backend"])
    def test_other_derivatives(self, name):
        """Forward mode, gradients of gradients both ways, and many seeds at once."""
        cell, *rest = draw(name, time=3)
        point = tuple(rest)
        direction = normal_like(point, 3)

        def along(function):
            return lambda point: jax.jvp(function, (point,), (direction,))[1]

        def check(derivative):
            got, want = (derivative(lambda point, k=k: loss(cell, k, *point)[0]) for k in ("fused", "scan"))
            chex.assert_trees_all_close(jax.jit(got)(point), jax.jit(want)(point), rtol=1e-10, atol=1e-11)

        check(along)
        check(lambda function: along(jax.grad(function)))
        check(lambda function: jax.grad(lambda point: squares(jax.grad(function)(point))))

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", BACKENDS, indirect=True)
    def test_many_seeds(self):
        """Under `jax.vmap`, with weights of their own."""
        cell, *point = draw("rnn", time=4)
        points = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), tuple(point))
        gradient = jax.grad(lambda point, kernel: loss(cell, kernel, *point)[0])
        got = jax.jit(jax.vmap(partial(gradient, kernel="fused")))(points)
        want = jax.jit(each(partial(gradient, kernel="scan")))(points)
        chex.assert_trees_all_close(got, want, rtol=1e-11, atol=1e-12)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("backend", "batch"), [("tpu", ()), ("gpu", (2, 9)), ("tpu", (0,)), ("gpu-split", (2, 9))], indirect=["backend"]
    )
    def test_batch_axes_and_one_step(self, batch):
        """No axis, or several, with more examples than one program takes, or with none; a single step."""
        cell, params, *_ = draw("lstm")
        xs = normal_like(jax.ShapeDtypeStruct((1, *batch, 3), "float64"), 1)
        got, want = (rnnjax.unroll(cell, params, xs, kernel=kernel) for kernel in ("fused", "scan"))
        chex.assert_trees_all_close(got, want, rtol=1e-12, atol=1e-13)

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["gpu"], indirect=True)
    def test_inputs_wider_than_the_weights(self):
        """The carry is in float64 then, and no weights round it."""
        cell, params, *_ = draw("rnn", dtype="bfloat16")
        xs = normal_like(jax.ShapeDtypeStruct((3, 2, 3), "float64"), 1)
        got, want = (rnnjax.unroll(cell, params, xs, kernel=kernel) for kernel in ("fused", "scan"))
        chex.assert_trees_all_close(got, want, rtol=1e-12, atol=1e-13)

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["gpu", "gpu-split"], indirect=True)
    def test_spread_over_devices(self):
        """Each device with a part of the batch. Pallas' interpreter cannot have check_vma=True."""
        cell, *point = draw("rnn", time=3)
        mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        spec = jax.sharding.PartitionSpec

        def gradient(params, xs, carry):
            return jax.lax.psum(jax.grad(lambda *point: loss(cell, "fused", *point)[0])(params, xs, carry), "batch")

        specs = spec(), spec(None, "batch"), spec("batch")
        spread = jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=spec(), check_vma=False)
        want = jax.grad(lambda *point: loss(cell, "scan", *point)[0])(*point)
        chex.assert_trees_all_close(jax.jit(spread)(*point), want, rtol=1e-11, atol=1e-12)


PRECISIONS = [("tpu", "lstm", "bfloat16"), ("gpu", "lstm-1997", "bfloat16"), ("gpu-split", "lstm", "bfloat16")]
here = pytest.mark.skipif(jax.default_backend() not in ("gpu", "tpu"), reason="no GPU or TPU here")
PRECISIONS += [pytest.param("here", name, dtype, marks=here) for name in POINTWISE for dtype in ("float32", "bfloat16")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("backend", "name", "dtype"), PRECISIONS, indirect=["backend"])
def test_precision(name, dtype):
    """bfloat16 weights meet a float32 carry: gradients keep their dtypes, and are nearly as good as the scan's.

    Those of the LSTM of 1997, whose errors do not wear off, are multiplied in float32. On an accelerator that is here
    every cell is compiled for it, in both precisions.
    """
    cell, params, xs, carry = draw(name, time=7, dtype=dtype)
    xs, sequences = ragged(xs)

    def gradient(kernel, params, xs, carry):
        value = partial(loss, cell, kernel, **sequences)
        return jax.jit(jax.grad(lambda *point: value(*point)[0], argnums=(0, 1, 2)))(params, xs, carry)

    with jax.default_matmul_precision("highest" if dtype == "float32" else "default"):
        got, scan = (gradient(kernel, params, xs, carry) for kernel in ("fused", "scan"))
    chex.assert_trees_all_equal_shapes_and_dtypes(got, scan)
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):  # a TPU has no float64
        exact = gradient("scan", *jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs, carry)))
    assert relative_error(got, exact) < 1.5 * relative_error(scan, exact) + (1e-5 if dtype == "float32" else 4e-3)


# --- what it cannot do ------------------------------------------------------------------------------------------------


class Shuffled(rnnjax.cells.Elman):
    """Mixes its units otherwise than by the recurrent weights."""

    def pointwise(self, params, zx, zh, carry):
        return HiddenCarry(jnp.tanh(zx + zh)[..., ::-1])


class Matrix(rnnjax.cells.Elman):
    """Reads a matrix in `pointwise`."""

    def pointwise(self, params, zx, zh, carry):
        return HiddenCarry(jnp.tanh(zx + zh + params.w_x.sum()))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            rnnjax.GRUResetBefore(4),
            r'(?m)^kernel "fused" needs a PointwiseCell, and GRUResetBefore is none: use "scan"$',
        ),
        (
            Shuffled(4),
            r'(?m)^kernel "fused" cannot run Shuffled: its gates cannot be kept apart: rev of .*$',
        ),
        (
            Matrix(4),
            r'(?m)^kernel "fused" cannot run Matrix: its gates cannot be kept apart: read an array of shape .*$',
        ),
        (rnnjax.LSTM(4), r'(?m)^kernel "fused" needs a TPU or an NVIDIA GPU: "auto" finds another$'),
    ],
    ids=["reset-before", "shuffled", "matrix", "platform"],
)
def test_what_it_cannot_run_is_one_line(cell, message):
    params, xs = normal_like(declared(cell, 3), 0), np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match=message):
        rnnjax.unroll(cell, params, xs, kernel="fused")
    with pytest.raises(ValueError, match=message):
        jax.jit(jax.grad(lambda xs: rnnjax.unroll(cell, params, xs, kernel="fused")[1].sum()))(xs)


@pytest.mark.parametrize(
    ("platform", "cell", "dtype", "why"),
    [
        ("cuda", rnnjax.GRU(128), "float32", None),
        ("cuda", rnnjax.LSTM(128), "float32", None),
        (
            "cuda",
            rnnjax.cells.LayerNormLSTM(128),
            "float32",
            "its recurrent weights take 261 KiB, and a multiprocessor keeps 198; "
            "its units cannot be split, it sums over them",
        ),
        ("tpu", rnnjax.LSTM(512), "float32", None),
        ("tpu", rnnjax.LSTM(1024), "float32", "its recurrent weights and one step take"),
        ("tpu", rnnjax.LSTM(8), "float16", "it computes in float32 and bfloat16, not in float16"),
    ],
    ids=["cuda-gru", "cuda-lstm", "cuda-layer-norm", "tpu-512", "tpu-1024", "tpu-float16"],
)
def test_what_a_platform_cannot_run_is_an_obstacle(platform, cell, dtype, why):
    """Weights that do not fit, dtypes."""
    found = obstacle(platform, cell, dtype)
    assert found is None if why is None else found.startswith(why)


def obstacle(platform, cell, dtype="float32"):
    carry = jax.eval_shape(lambda: cell.initial_carry((16,), dtype))
    xs = jax.ShapeDtypeStruct((10, 16, 8), dtype)
    return fused.obstacle(platform, cell, declared(cell, 8, dtype), xs, None, carry)


def test_what_fits_is_what_the_gpu_has(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda platform: [SimpleNamespace(shared_memory_per_block_optin=99 << 10)])
    assert obstacle("cuda", rnnjax.cells.LayerNormLSTM(64)) is None
    assert obstacle("cuda", rnnjax.GRU(128)) is None
    found = obstacle("cuda", rnnjax.cells.LayerNormLSTM(128))
    assert found.startswith("its recurrent weights take 261 KiB, and a multiprocessor keeps 86; ")


@pytest.mark.parametrize(("units", "lanes"), [(5, 16), (16, 16), (100, 128), (256, 256), (300, 320), (650, 704)])
def test_lanes_of_a_gpu(units, lanes):
    """Powers of two only where one program may have all units."""
    assert pallas_gpu.lanes(units) == lanes


def test_settings_of_jax_that_a_tpu_lacks_are_an_obstacle():
    with jax.default_matmul_precision("high"):
        assert obstacle("tpu", rnnjax.LSTM(8)) == "it multiplies in no precision 'high'"
    with jax.enable_x64(True):
        assert obstacle("tpu", rnnjax.LSTM(8)) == "it has no 64-bit integers, which jax_enable_x64 makes of all"
        assert obstacle("tpu", rnnjax.LSTM(8), "float64").endswith("float32 and bfloat16, not in float64")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.roll(x, 1, axis=-1),
        lambda x: x[:, 2:],
        lambda x: jnp.cumsum(x, axis=-1),
        lambda x: x * np.arange(12.0),
        lambda x: x.sum(axis=0),
        lambda x: x.reshape(-1, 4, 3).sum(axis=1),
        lambda x: x.reshape(-1, 4, 3).swapaxes(1, 2).reshape(-1, 12),
        lambda x: jnp.pad(x, [(0, 0), (1, 0)]),
        lambda x: jnp.concatenate([x[:, :1], x], axis=-1),
    ],
)
def test_what_moves_units_is_not_taken_apart(function):
    """12 = 4 gates of 3 units: nothing of this is done gate by gate, and none of it is taken for something else."""
    with pytest.raises(NotApart):
        take_apart(function, 3, jax.ShapeDtypeStruct((1, 12), jnp.float32))


@pytest.mark.parametrize(
    ("function", "mixes"),
    [
        (lambda x: jnp.tanh(x[:, :3]) * x[:, 3:6], False),
        (lambda x: x.reshape(-1, 4, 3, 1).sum(axis=-1).reshape(-1, 12), False),
        (lambda x: x.reshape(-1, 4, 3) - x.reshape(-1, 4, 3).sum(axis=2, keepdims=True), True),
        (jax.jit(lambda x: x.reshape(-1, 4, 3).mean(axis=2, keepdims=True) + jnp.zeros((1, 4, 3))), True),
    ],
)
def test_sums_over_units_are_seen(function, mixes):
    """In functions that it calls too."""
    flat = jax.ShapeDtypeStruct((1, 12), jnp.float32)
    assert take_apart(lambda x: function(x).reshape(len(x), -1), 3, flat).mixes == mixes


def test_all_pointwise_cells_are_taken_apart():
    """The list that the tests run over is that of the registry."""
    assert {name for name in rnnjax.CELLS if isinstance(rnnjax.CELLS[name](1), PointwiseCell)} == set(POINTWISE)
