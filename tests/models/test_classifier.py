"""Classifiers: pooling over the real steps alone, whatever the padding holds; and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import rnnjax
from rnnjax.initializers import Uniform
from rnnjax.models import POOLINGS, Classifier, split
from tests.support import normal_like, relative_error, slow_unless

TIME, FEATURES, CLASSES = 7, 3, 4
LENGTHS = np.array([4, 2, 4])
SHORT = rnnjax.Elman(5, input_init=Uniform(), recurrent_init=Uniform())  # an orthogonal matrix is slow to compile


def inputs(seed=0, batch=len(LENGTHS)):
    return normal_like(jax.ShapeDtypeStruct((TIME, batch, FEATURES), jnp.float32), seed)


def make(cells=(SHORT,), **settings):
    return Classifier(cells, FEATURES, CLASSES, rngs=nnx.Rngs(0, dropout=1), **settings)


@pytest.mark.parametrize(
    ("pooling", "bidirectional"),
    slow_unless((("max", True),), [(name, both) for name in POOLINGS for both in (False, True)]),
)
def test_garbage_in_the_padding_moves_nothing(pooling, bidirectional):
    """The logits, and the gradient by the parameters, are those of the sequences cut at their own lengths."""
    params, _, build = split(make(pooling=pooling, bidirectional=bidirectional))

    @jax.jit
    def run(params, xs, lengths):
        return jax.value_and_grad(lambda params: (build(params)(xs, lengths)[:, 1] ** 2).sum())(params)

    xs = inputs()
    garbage = np.where((np.arange(TIME)[:, None] < LENGTHS)[..., None], xs, np.nan)
    value, gradient = run(params, garbage, LENGTHS)
    alone = [run(params, xs[:length, length == LENGTHS], None) for length in (4, 2)]
    np.testing.assert_allclose(value, sum(each for each, _ in alone), rtol=1e-5)
    total = jax.tree.map(lambda *leaves: sum(leaves), *(each for _, each in alone))
    assert relative_error(gradient, total) < 1e-5


def test_garbage_tokens_in_the_padding_move_nothing():
    model = Classifier(
        [SHORT], 9, CLASSES, embedding_size=FEATURES, pooling="mean", word_dropout=0.3, dropout=0.3, rngs=nnx.Rngs(0)
    )
    tokens = np.random.RandomState(0).randint(0, 9, (TIME, 3))
    garbage = np.where(np.arange(TIME)[:, None] < LENGTHS, tokens, 12345)
    run = jax.jit(lambda tokens: model(tokens, LENGTHS, deterministic=False, rngs=jax.random.key(0)))
    np.testing.assert_array_equal(run(garbage), run(tokens))
    assert np.isfinite(run(tokens)).all()


def test_pooling():
    """Of outputs as they come from `unroll`, against a loop over the sequences; none without a real step."""
    lengths = np.array([7, 4, 0])
    real = np.arange(TIME)[:, None] < lengths
    ys = np.where(real[..., None], normal_like(jax.ShapeDtypeStruct((TIME, 3, 6), jnp.float32), 0), 0)
    want = {
        "last": [np.r_[ys[n - 1, row, :3], ys[0, row, 3:]] for row, n in enumerate(lengths[:2])],
        "mean": [ys[:n, row].mean(0) for row, n in enumerate(lengths[:2])],
        "max": [ys[:n, row].max(0) for row, n in enumerate(lengths[:2])],
    }
    for name, pool in POOLINGS.items():
        np.testing.assert_allclose(pool(ys, real, True), [*want[name], np.zeros(6)], rtol=1e-5, atol=1e-7)
    one_way = POOLINGS["last"](ys, real, False)
    np.testing.assert_array_equal(one_way, [ys[6, 0], ys[3, 1], np.zeros(6)])


@pytest.mark.slow
def test_last_is_the_state_that_each_direction_ends_with():
    model = make((rnnjax.GRU(5),), bidirectional=True)
    carry, _ = model.layers[0](inputs(), lengths=LENGTHS)
    want = np.concatenate([carry.forward.h, carry.backward.h], -1) @ model.w[...] + model.b[...]
    np.testing.assert_allclose(model(inputs(), LENGTHS), want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "pooling"), [("rnn", "max"), ("gru", "mean"), ("lstm", "last"), ("min-gru", "mean")])
def test_it_learns_one_batch_by_heart(cell, pooling):
    """Labels at random: ln 4 at first, and next to nothing in the end."""
    model = make((rnnjax.CELLS[cell](16),), bidirectional=True, pooling=pooling, dropout=0.1)
    params, _, build = split(model)
    xs, labels, lengths = inputs(1, 8), np.arange(8) % CLASSES, np.array([7, 7, 6, 5, 4, 3, 2, 7])
    optimizer = optax.adam(0.02)

    def loss(params, key):
        logits = build(params)(xs, lengths, deterministic=key is None, rngs=key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def train(params):
        def step(index, carry):
            params, state = carry
            gradient = jax.grad(loss)(params, jax.random.key(index))
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(params, updates), state

        return jax.lax.fori_loop(0, 150, step, (params, optimizer.init(params)))[0]

    assert 1 < loss(params, None) < 2
    assert loss(train(params), None) < 0.02


def test_evaluation_draws_nothing_and_training_does():
    model = make(dropout=0.5)
    model.eval()
    np.testing.assert_array_equal(model(inputs()), model(inputs()))
    model.train()
    assert np.abs(model(inputs()) - model(inputs())).max() > 1e-3


@pytest.mark.slow
def test_dropout_is_of_every_layers_inputs_and_of_what_is_pooled():
    """With one layer and identity weights: the mean over masks is the output without, the variance that of two."""
    cell = rnnjax.CELLS["rnn-identity"](1)
    model = Classifier([cell], 1, 1, pooling="last", dropout=0.4, rngs=nnx.Rngs(0))
    params = model.layers[0].weights
    params.w_x[...], params.w_h[...], params.b[...] = jnp.eye(1), jnp.zeros((1, 1)), jnp.zeros(1)
    model.w[...] = jnp.eye(1)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: model(jnp.ones((1, 1, 1)), deterministic=False, rngs=key))(keys).ravel()
    np.testing.assert_allclose(sorted(set(drawn.round(3).tolist())), [0, round(1 / 0.36, 3)])
    np.testing.assert_allclose((drawn > 0).mean(), 0.36, atol=4 * (0.36 * 0.64 / 4000) ** 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": ()}, "cells must be one cell or more, got none"),
        ({"cells": (rnnjax.Bidirectional(SHORT),)}, "cells must have a step, and Bidirectional has none"),
        ({"pooling": "meen"}, "unknown pooling 'meen': did you mean 'mean'?"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"word_dropout": 0.1}, "word_dropout is of rows of an embedding: give embedding_size"),
        ({"embedding_size": 0}, "embedding_size must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_tokens_are_integers():
    model = nnx.eval_shape(lambda: make(embedding_size=2))
    with pytest.raises(TypeError, match="tokens must be integers, got float32"):
        model(jnp.zeros((3, 2)))
