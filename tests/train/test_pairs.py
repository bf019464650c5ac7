"""Batches of similar length, and the loss and the search over whole data sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rnnjax.models import END, BeamSearch, Sentences, seq2seq, split
from rnnjax.train import pairs
from rnnjax.train.pairs import Padded, Pairs

RANDOM = np.random.RandomState(0)
SOURCES = Padded.of([RANDOM.randint(0, 5, length) for length in RANDOM.randint(1, 9, 20)])
WHICH = jnp.asarray(RANDOM.randint(0, 20, 30))
TARGETS = Padded.of([np.append(RANDOM.randint(2, 6, length), END) for length in RANDOM.randint(0, 7, 30)])
PAIRS = Pairs(SOURCES, WHICH, TARGETS)


def whole():
    """All pairs as one batch."""
    inputs = Sentences(SOURCES.tokens[WHICH].T, SOURCES.lengths[WHICH])
    return inputs, TARGETS.tokens.T, TARGETS.lengths


@pytest.fixture(scope="module")
def parts():
    model = seq2seq(5, 6, hidden_size=4, embedding_size=3, attention="multiplicative", rngs=nnx.Rngs(0))
    params, _, build = split(model)
    return jax.tree.map(lambda leaf: 3 * leaf, params), build


def test_padded():
    padded = Padded.of([np.array([3, 1]), np.array([], int), np.array([2])])
    np.testing.assert_array_equal(padded.tokens, [[3, 1], [0, 0], [2, 0]])
    np.testing.assert_array_equal(padded.lengths, [2, 0, 1])


def test_every_batch_fits_its_shape_and_an_epoch_has_each_pair_once():
    sizes = np.stack([SOURCES.lengths[WHICH], TARGETS.lengths], 1)
    shapes = pairs.shapes(PAIRS, 3)
    assert len(shapes) == 3
    assert shapes[-1] == tuple(sizes.max(0))
    assert np.mean((sizes <= shapes[0]).all(1)) >= 0.5
    plan = pairs.by_length(PAIRS, shapes, 4, 0, lambda epoch: 0.5**epoch)
    seen = []
    for epoch in range(2):
        steps, (places, numbers, forced) = plan(epoch)
        assert steps == 7
        assert np.all(np.asarray(forced) == 0.5**epoch)
        for batch, number in zip(np.asarray(places), np.asarray(numbers), strict=True):
            assert np.all(sizes[batch] <= shapes[number])
            assert number == 0 or np.any(sizes[batch] > shapes[number - 1])
        assert len(np.unique(places)) == 28
        seen.append(np.asarray(places))
    assert np.any(seen[0] != seen[1])
    with pytest.raises(ValueError, match="30 pairs are too few for a batch of 31"):
        pairs.by_length(PAIRS, shapes, 31, 0)


@pytest.mark.slow
def test_loss_and_gradients_do_not_depend_on_the_shape(parts):
    """A batch cut to its shape, among several, beside all pairs of it at full length."""
    params, build = parts
    shapes = pairs.shapes(PAIRS, 3)
    _, (places, numbers, _) = pairs.by_length(PAIRS, shapes, 4, 0)(0)
    chosen = int(np.argmin(numbers))
    assert numbers[chosen] < 2

    def of(shapes, number):
        loss = pairs.pair_loss(build, shapes)
        item = places[chosen], jnp.int32(number), jnp.float32(1)
        return jax.jit(jax.value_and_grad(lambda p: loss(p, None, PAIRS, item, jax.random.key(0))[0]))(params)

    for got, want in zip(
        jax.tree.leaves(of(shapes, numbers[chosen])), jax.tree.leaves(of(shapes[-1:], 0)), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_evaluation_is_over_tokens(parts):
    """In batches that do not divide the data."""
    params, build = parts
    want = -jax.jit(lambda p: build(p).log_probability(*whole()).sum())(params) / TARGETS.lengths.sum()
    np.testing.assert_allclose(pairs.evaluator(build, PAIRS, 7)(params), want, rtol=1e-5)


@pytest.mark.slow
def test_writing_does_not_depend_on_the_batch(parts):
    params, build = parts
    search = BeamSearch(6, 2)
    one, other = (pairs.tokens_of(pairs.writer(build, search, SOURCES, size)(params)) for size in (20, 3))
    assert len(one) == 20
    for got, want in zip(one, other, strict=True):
        np.testing.assert_array_equal(got, want)
        assert END not in got
