"""The neural sequence chunker: what goes to the chunker, and what each network learns from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.models import Chunker
from tests.references import logistic
from tests.support import normal_like

pytestmark = pytest.mark.usefixtures("x64")
SYMBOLS = np.eye(3)


@jax.jit
def step(params, carry, x, target):
    return Chunker().step(params, carry, x, target)


def network(params, h, x):
    """Hidden state and outputs, in NumPy."""
    h = logistic(x @ params.cell.w_x + h @ params.cell.w_h + params.cell.b)
    return h, logistic(h @ params.w + x @ params.w_x + params.b)


def test_only_what_was_not_predicted_goes_to_the_chunker():
    """A walk by hand over symbols 0 1 2 0, of which the automatiser is made to predict the second and no other."""
    shapes = jax.eval_shape(lambda: Chunker().init(jax.random.key(0), 3))
    params = jax.tree.map(np.float64, normal_like(shapes, 0, 0.3))
    below = params.automatiser
    below = below._replace(w_x=np.array([[-9, 9, -9, 0], [0] * 4, [0] * 4], float), w=0 * below.w, b=0 * below.b)
    params = params._replace(automatiser=below)
    carry = Chunker().start(params, SYMBOLS[0])
    h, u = np.zeros(1), SYMBOLS[0]  # the chunker's state before its last input, and that input
    np.testing.assert_allclose(carry.h, network(params.chunker, h, u)[0], rtol=1e-12)
    for now, then, surprised in (0, 1, False), (1, 2, True), (2, 0, True):
        new = step(params, carry, SYMBOLS[now], SYMBOLS[then])
        assert bool(new.surprised) == surprised
        if surprised:
            # The error of what the chunker expected after the last thing it saw, by the biases of its outputs.
            h, y = network(params.chunker, h, u)
            np.testing.assert_allclose(new.gradients.chunker.b, (y - SYMBOLS[then]) * y * (1 - y), rtol=1e-12)
            u = SYMBOLS[then]
        else:
            assert not any(np.any(leaf) for leaf in jax.tree.leaves(new.gradients.chunker))
        # The automatiser has the chunker's hidden state of before as one more target.
        _, y = network(below, np.zeros(1), SYMBOLS[now])
        target = np.concatenate([SYMBOLS[then], carry.h])
        np.testing.assert_allclose(new.gradients.automatiser.b, (y - target) * y * (1 - y), rtol=1e-9)
        np.testing.assert_allclose(new.y, y[:3], rtol=1e-12)
        carry = new.carry
        np.testing.assert_allclose(carry.last, u)
        np.testing.assert_allclose(carry.h, network(params.chunker, h, u)[0], rtol=1e-12)


def test_fit_is_one_step_after_the_other():
    """An update of all weights a step, none of the biases; the error of a sequence that comes again and again falls."""
    params = Chunker().init(jax.random.key(0), 3)
    xs, targets = SYMBOLS[jnp.array([0, 1, 2])], SYMBOLS[jnp.array([1, 2, 0])]
    fit = jax.jit(Chunker().fit)
    fitted, ys = fit(params, xs, targets, 0.5)
    carry, want = Chunker().start(params, xs[0]), params
    for x, target, y in zip(xs, targets, ys, strict=True):
        done = step(want, carry, x, target)
        want = jax.tree.map(lambda old, slope: old - 0.5 * slope, want, done.gradients)
        want = jax.tree.map(lambda new, old: new if old.ndim > 1 else old, want, params)
        carry = done.carry
        np.testing.assert_allclose(y, done.y, rtol=1e-12)
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-12), fitted, want)
    for _ in range(30):
        fitted, after = fit(fitted, xs, targets, 0.5)
    assert jnp.square(after - targets).sum() < 0.5 * jnp.square(ys - targets).sum()


def test_published_number_of_weights():
    """10,506 without biases, those of the automatiser for 101 symbols."""
    params = jax.eval_shape(lambda: Chunker().init(jax.random.key(0), 101)).automatiser
    assert sum(leaf.size for leaf in (params.cell.w_x, params.cell.w_h, params.w, params.w_x)) == 10506


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be an integer of at least 1, got 0"),
        ({"tolerance": 0.0}, "tolerance must be a number above 0, got 0.0"),
        ({"bound": jnp.nan}, "bound must be a number above 0, got nan"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Chunker(**settings)
