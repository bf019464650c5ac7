"""Zoneout and recurrent dropout by the kernels of the cell inside, against the scan with the same masks."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import GRU, LSTM, Elman, RecurrentDropout, Zoneout
from rnnjax.kernels import blocked, fused, pallas_tpu
from tests.kernels.test_blocked import each
from tests.kernels.test_fused import BACKENDS, ragged, split
from tests.kernels.test_lowering import CALLS, training_step_for
from tests.support import declared, normal_like, slow_unless

KEY = jax.random.key(7)
CELLS = {
    "lstm": Zoneout(LSTM(5), (0.2, 0.5)),
    "gru": Zoneout(GRU(5), 0.3),
    "lstm, c alone": Zoneout(LSTM(5), (0.0, 0.5)),
    "twice": Zoneout(Zoneout(LSTM(5), (0.2, 0.5)), (0.4, 0.0)),
    "layer norm": Zoneout(rnnjax.cells.LayerNormLSTM(5), (0.2, 0.5)),
    "around recurrent dropout": Zoneout(RecurrentDropout(GRU(5)), 0.3),
    "recurrent dropout": RecurrentDropout(LSTM(5)),
}
TRAINED = {
    "lstm": ("blocked", *BACKENDS),
    "gru": ("blocked", *BACKENDS),
    "lstm, c alone": ("blocked", "gpu"),
    "twice": ("blocked", "tpu"),
    "layer norm": ("gpu",),
}
# Forward or in reverse, which does not differ between cells.
CASES = [(name, "train", kernel) for name, kernels in TRAINED.items() for kernel in kernels]
CASES += [(name, "evaluate", "blocked") for name in CELLS]
CASES += [(name, "evaluate", list(BACKENDS)[place % 3]) for place, name in enumerate(CELLS)]
CASES = [("lstm", "train", "blocked", True), *((*case, place % 2 == 1) for place, case in enumerate(CASES))]


def draw(name):
    """Seven steps, in two blocks for a kernel that takes four at a time."""
    cell = CELLS[name]
    params = normal_like(declared(cell, 3, "float64"), 0, 0.5)
    xs = normal_like(jax.ShapeDtypeStruct((7, 4, 3), "float64"), 1)
    return cell, params, xs, normal_like(jax.eval_shape(lambda: cell.initial_carry((4,), "float64")), 2)


def loss(cell, kernel, params, xs, carry, key, **sequences):
    final, ys = rnnjax.unroll(cell, params, xs, carry, kernel=kernel, key=key, deterministic=key is None, **sequences)
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in (*final, ys)), (final, ys)


def use(kernel, monkeypatch):
    """The name for `unroll` of a kernel here: "blocked", or "fused" by one of its backends."""
    monkeypatch.setattr(blocked, "block_size", lambda time: 4)
    if kernel == "blocked":
        return kernel
    monkeypatch.setattr(fused, "interpreted", BACKENDS[kernel])
    monkeypatch.setattr(pallas_tpu, "STEPS", 3)
    if kernel == "gpu-split":
        split(monkeypatch)
    return "fused"


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "phase", "kernel", "reverse"), slow_unless(CASES[:1], CASES))
def test_is_the_scan(name, phase, kernel, reverse, monkeypatch):
    """Carry, outputs and all gradients, with padding of NaN, gaps and borders, and a carry of any sign."""
    kernel = use(kernel, monkeypatch)
    cell, params, xs, carry = draw(name)
    xs, sequences = ragged(xs)

    def outcome(kernel):
        key = KEY if phase == "train" else None
        value = partial(loss, cell, kernel, key=key, reverse=reverse, **sequences)
        return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2), has_aux=True))(params, xs, carry)

    chex.assert_trees_all_close(outcome(kernel), outcome("scan"), rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kernel", ["blocked", "gpu"])
def test_other_derivatives_and_many_seeds(kernel, monkeypatch):
    """Forward mode, forward mode of gradients, and seeds with masks of their own under `jax.vmap`."""
    kernel = use(kernel, monkeypatch)
    cell, *rest = draw("lstm")
    point = tuple(rest)
    direction = normal_like(point, 3)

    def along(function):
        return jax.jvp(function, (point,), (direction,))[1]

    def both(derivative):
        got, want = (jax.jit(partial(derivative, name)) for name in (kernel, "scan"))
        return got(), want()

    def value(name, key, point):
        return loss(cell, name, *point, key)[0]

    chex.assert_trees_all_close(*both(lambda name: along(partial(value, name, KEY))), rtol=1e-11, atol=1e-12)
    gradients = both(lambda name: along(jax.grad(partial(value, name, KEY))))
    chex.assert_trees_all_close(*gradients, rtol=1e-10, atol=1e-11)
    keys = jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(lambda key: jax.grad(partial(value, kernel, key))(point)))(keys)
    one = jax.jit(each(lambda key: jax.grad(partial(value, "scan", key))(point)))(keys)
    chex.assert_trees_all_close(many, one, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_perturbations_segments_and_no_batch():
    """What else `unroll` does to the carry and to the noise of its steps."""
    cell, params, xs, carry = draw("lstm")
    added = normal_like(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((7, *leaf.shape), leaf.dtype), carry), 3)

    def outcome(kernel):
        def value(params, added):
            moved, _ = loss(cell, kernel, params, xs, carry, KEY, perturbations=added)
            parts, _ = loss(cell, kernel, params, xs, carry, KEY, remat=3)
            alone, _ = loss(cell, kernel, params, xs[:, 0], None, KEY)
            return moved + 3 * parts + 5 * alone

        return jax.jit(jax.value_and_grad(value, argnums=(0, 1)))(params, added)

    chex.assert_trees_all_close(outcome("blocked"), outcome("scan"), rtol=1e-11, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("platform", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lowers(platform, dtype):
    """In training, a forward and a backward kernel of each platform."""
    module = training_step_for(platform, Zoneout(LSTM(20), (0.2, 0.5)), dtype, key=KEY)
    assert module.count(f"@{CALLS[platform]}(") == 2


def explained(cell, **options):
    xs = jax.ShapeDtypeStruct((100, 4, 8), jnp.float32)
    return {found.kernel for found in rnnjax.explain_kernel(cell, declared(cell, 8), xs, **options)}


class Noisy(Elman):
    """Of what is added to the inputs its `pointwise` knows nothing."""

    is_random = True

    def perturb(self, key, params, shape):
        return params, jax.random.normal(key, (*shape, self.hidden_size))

    def project_with(self, params, xs, noise):
        return self.project(params, xs) + (0 if noise is None else noise)


def test_auto_takes_what_it_takes_for_the_cell_inside():
    assert explained(Zoneout(LSTM(8)), key=KEY) == explained(LSTM(8)) == {"blocked"}
    assert explained(Zoneout(LSTM(8)), deterministic=True) == {"blocked"}
    assert explained(Zoneout(rnnjax.MGU(8)), key=KEY) == {"scan"}
    assert explained(RecurrentDropout(LSTM(8)), deterministic=True) == {"blocked"}
    assert explained(RecurrentDropout(LSTM(8)), key=KEY) == {"scan"}
    assert explained(Zoneout(RecurrentDropout(LSTM(8))), key=KEY) == {"scan"}
    assert explained(Noisy(8), key=KEY) == explained(Zoneout(Noisy(8)), key=KEY) == {"scan"}
    assert explained(Noisy(8), deterministic=True) == {"blocked"}


@pytest.mark.parametrize("kernel", ["blocked", "fused"])
@pytest.mark.parametrize("cell", [RecurrentDropout(LSTM(4)), Zoneout(RecurrentDropout(LSTM(4)))])
def test_recurrent_dropout_in_training_is_for_the_scan(cell, kernel):
    why = "RecurrentDropout is none in training, with a mask and a product a gate"
    params, xs = normal_like(declared(cell, 3), 0), np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match=rf'^kernel "{kernel}" needs a PointwiseCell, and {why}: use "scan"$'):
        rnnjax.unroll(cell, params, xs, kernel=kernel, key=KEY)
