import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.models import softmax_cross_entropy
from tests.support import normal_like, relative_error

TOKENS, FEATURES, VOCABULARY = 14, 5, 11


def draw(dtype="float64"):
    shapes = [(2, 7, FEATURES), (FEATURES, VOCABULARY), (VOCABULARY,)]
    ys, w, b = normal_like([jax.ShapeDtypeStruct(shape, dtype) for shape in shapes], 0)
    targets = np.random.RandomState(1).randint(0, VOCABULARY, (2, 7))
    return ys, w, b, targets


def all_at_once(ys, w, b, targets, weights):
    return (weights * optax.softmax_cross_entropy_with_integer_labels(ys @ w + b, targets)).sum()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("chunk", [None, pytest.param(1, marks=pytest.mark.slow), 4])
def test_loss_and_gradients_are_those_of_all_logits_at_once(chunk):
    """4 does not divide the 14 tokens: the last chunk is padded, which no result may show."""
    ys, w, b, targets = draw()
    weights = np.random.RandomState(2).uniform(size=targets.shape)
    arguments = ys, w, b, weights

    def ours(ys, w, b, weights):
        return 3 * softmax_cross_entropy(ys, w, b, targets, weights, chunk=chunk)

    def want(ys, w, b, weights):
        return 3 * all_at_once(ys, w, b, targets, weights)

    got, expected = (jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(*arguments) for loss in (ours, want))
    np.testing.assert_allclose(jax.jit(ours)(*arguments), expected[0], rtol=1e-12)
    assert relative_error(got[0], expected[0]) < 1e-12
    for one, other in zip(got[1], expected[1], strict=True):
        assert relative_error(one, other) < 1e-12


@pytest.mark.slow
def test_huge_logits_are_finite():
    ys, w, b, targets = draw("float32")
    arguments = 1e4 * ys, w, b, targets, np.ones(targets.shape, np.float32)
    loss, gradient = jax.value_and_grad(softmax_cross_entropy)(*arguments)
    np.testing.assert_allclose(loss, all_at_once(*arguments), rtol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_half_precision_adds_up_in_float32():
    ys, w, b, targets = draw("float32")
    low = [jnp.asarray(array, jnp.bfloat16) for array in (ys, w, b)]
    loss, gradients = jax.value_and_grad(softmax_cross_entropy, argnums=(0, 1, 2))(*low, targets, chunk=2)
    assert loss.dtype == jnp.float32
    assert [gradient.dtype for gradient in gradients] == 3 * [jnp.bfloat16]
    wide = [array.astype(jnp.float32) for array in low]
    ones = np.ones(targets.shape, np.float32)
    want, wanted = jax.value_and_grad(all_at_once, argnums=(0, 1, 2))(*wide, targets, ones)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        assert relative_error(gradient, other) < 1e-2


def test_memory_is_that_of_a_chunk():
    """By the compiler's own account: 700 tokens of a vocabulary of 10,000 are 28 MB of logits."""
    shapes = [(700, 100), (100, 10_000), (10_000,)]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    targets, weights = jax.ShapeDtypeStruct((700,), jnp.int32), jax.ShapeDtypeStruct((700,), jnp.float32)

    def temporaries(loss):
        program = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*arguments, targets, weights).compile()
        return program.memory_analysis().temp_size_in_bytes

    chunked = temporaries(lambda *args: softmax_cross_entropy(*args, chunk=70))
    assert temporaries(all_at_once) > 2 * 28e6
    assert chunked < 28e6 / 4 + 100 * 10_000 * 4
