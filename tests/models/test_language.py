"""Language models: sizes, losses, carries, tied weights and regularisers, against what is known of them."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.interop import to_torch
from rnnjax.models import LANGUAGE_MODELS, LanguageModel, better_rnnlm, char_rnn, split
from tests.support import relative_error, slow_unless

COUNTS = {
    "char": (65, 239_297),
    "rnnlm": (10_000, 2_090_400),
    "better-rnnlm": (10_000, 13_275_200),
    "zaremba-small": (10_000, 4_651_600),
    "zaremba-medium": (10_000, 19_775_200),
    "zaremba-large": (10_000, 66_022_000),
    "awd": (10_000, 24_210_800),
}
"""Vocabulary and parameters, as published; with one bias a gate, where the authors of two of them have two."""


def sizes(model):
    return [leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def tokens(vocabulary, time=12, batch=3, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randint(0, vocabulary, (time, batch)))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_parameter_count(name):
    vocabulary, count = COUNTS[name]
    model = nnx.eval_shape(lambda: LANGUAGE_MODELS[name](vocabulary, rngs=nnx.Rngs(0)))
    assert sum(sizes(model)) == count


def test_char_rnn_has_the_parameters_of_char_rnn_in_its_own_layout():
    """240,321, with PyTorch's two biases a gate."""
    model = nnx.eval_shape(lambda: char_rnn(65, rngs=nnx.Rngs(0)))
    declared = jax.eval_shape(lambda: model.cell.init(jax.random.key(0), 65))
    weights = to_torch(model.cell, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), declared))
    readout = (128 + 1) * 65
    assert sum(array.size for array in weights.values()) + readout == 240_321


@pytest.mark.parametrize("name", slow_unless(("rnnlm",), LANGUAGE_MODELS))
def test_initial_loss_is_that_of_guessing(name):
    model = LANGUAGE_MODELS[name](65, hidden_size=32, rngs=nnx.Rngs(0))
    text = tokens(65, 40)
    loss = jax.jit(lambda: model.loss(text[:-1], text[1:], deterministic=True)[1].cross_entropy)()
    np.testing.assert_allclose(loss, math.log(65), rtol=0.03)


@pytest.mark.slow
def test_loss_is_that_of_the_logits():
    """The mean of -ln p over the real tokens, with p from the logits of a call; the carry is that of the last one."""
    model = LanguageModel(rnnjax.Elman(4), 7, embedding_size=3, rngs=nnx.Rngs(0))
    text, lengths = tokens(7), np.array([11, 4, 1])
    carry, found = model.loss(text[:-1], text[1:], lengths=lengths)
    _, logits = model(text[:-1])
    logs = np.asarray(jax.nn.log_softmax(logits))
    picked = [-logs[time, row, text[time + 1, row]] for row in range(3) for time in range(lengths[row])]
    np.testing.assert_allclose(found.cross_entropy, np.mean(picked), rtol=1e-6)
    short, _ = model(text[:4, 1:2])
    np.testing.assert_allclose(carry.h[1], short.h[0], rtol=1e-6)


def test_carried_state_is_one_long_sequence():
    model = LanguageModel(rnnjax.Elman(4), 7, rngs=nnx.Rngs(0))
    text = tokens(7)
    params, _, build = split(model)
    call = jax.jit(lambda tokens, carry: build(params)(tokens, carry))
    _, whole = call(text, None)
    carry, first = call(text[:6], None)
    _, second = call(text[6:], carry)
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_hot_is_a_row_of_the_input_weights():
    """A model on one-hot vectors is one whose embedding is the identity."""
    make = partial(LanguageModel, rnnjax.Elman(4), 7)
    one_hot, embedded = make(rngs=nnx.Rngs(0)), make(embedding_size=7, rngs=nnx.Rngs(1))
    embedded.embedding[...] = jnp.eye(7)
    embedded.recurrent, embedded.w, embedded.b = one_hot.recurrent, one_hot.w, one_hot.b
    np.testing.assert_allclose(one_hot(tokens(7))[1], embedded(tokens(7))[1], rtol=1e-6)


def test_tied_weights_are_one_array_with_one_gradient():
    """The sum of the gradients of an untied model whose two arrays are equal."""
    make = partial(better_rnnlm, 9, cell="rnn", hidden_size=4, layers=1)
    tied, untied = make(rngs=nnx.Rngs(0)), make(tied=False, rngs=nnx.Rngs(0))
    tied.embedding[...] *= 100
    untied.embedding, untied.recurrent, untied.b = tied.embedding, tied.recurrent, tied.b
    untied.w[...] = tied.embedding[...].T
    assert sum(sizes(untied)) - sum(sizes(tied)) == 9 * 4
    text = tokens(9)

    def gradient(model):
        params, _, build = split(model)

        def loss(params):
            return build(params).loss(text[:-1], text[1:], deterministic=True)[1].cross_entropy

        return jax.jit(jax.grad(loss))(params)

    one, two = gradient(tied), gradient(untied)
    total = two["embedding"][...] + two["w"][...].T
    assert relative_error(one["embedding"][...], total) < 1e-5
    assert min(np.linalg.norm(two["embedding"][...]), np.linalg.norm(two["w"][...])) > 1e-3


@pytest.mark.slow
def test_word_dropout_takes_whole_words_and_scales_the_others():
    model = LanguageModel(
        rnnjax.CELLS["rnn-identity"](6), 50, embedding_size=6, word_dropout=0.4, rngs=nnx.Rngs(0, dropout=1)
    )
    every = jnp.arange(50)[None]
    with_all = model.recurrent(model.embedding[...][every])[1][0]
    dropped = jax.vmap(lambda key: model._outputs(every, None, None, False, key)[1][0])(
        jax.random.split(jax.random.key(2), 200)
    )
    gone = (jnp.abs(dropped) < 1e-7).all(-1)
    np.testing.assert_allclose(gone.mean(), 0.4, atol=0.02)
    kept = np.where(gone[..., None], 0, dropped - with_all / 0.6)
    np.testing.assert_allclose(kept, 0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variational", [False, True])
def test_output_dropout(variational):
    model = LanguageModel(rnnjax.Elman(6), 7, output_dropout=0.3, variational=variational, rngs=nnx.Rngs(0))
    _, ys, raw = model._outputs(tokens(7, 40, 20), None, None, False, jax.random.key(1))
    gone = np.asarray(ys == 0)
    np.testing.assert_allclose(gone.mean(), 0.3, atol=0.06)
    np.testing.assert_allclose(np.where(gone, 0, ys - raw / 0.7), 0, atol=1e-6)
    assert (gone == gone[0]).all() == variational


@pytest.mark.slow
def test_activation_penalties():
    model = LanguageModel(
        rnnjax.GRU(4), 7, activation_penalty=2.0, slowness_penalty=3.0, output_dropout=0.5, rngs=nnx.Rngs(0)
    )
    text, lengths, key = tokens(7), np.array([11, 6, 6]), jax.random.key(1)
    found = model.loss(text[:-1], text[1:], lengths=lengths, deterministic=False, rngs=key)[1]
    _, ys, raw = model._outputs(text[:-1], None, lengths, False, key)
    squares = [np.square(ys[:n, row]).mean(-1) for row, n in enumerate(lengths)]
    steps = [np.square(np.diff(raw[:n, row], axis=0)).mean(-1) for row, n in enumerate(lengths)]
    want = 2 * np.concatenate(squares).mean() + 3 * np.concatenate(steps).mean()
    np.testing.assert_allclose(found.penalty, want, rtol=1e-5)


@pytest.mark.slow
def test_evaluation_draws_nothing():
    cell = rnnjax.Dropout(rnnjax.Elman(4), input_rate=0.5)
    model = LanguageModel(cell, 9, output_dropout=0.5, rngs=nnx.Rngs(0, dropout=1))
    text = tokens(9)
    model.eval()
    np.testing.assert_array_equal(model(text)[1], model(text)[1])
    model.train()
    assert np.abs(model(text)[1] - model(text)[1]).max() > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru-layer-norm", "lru", "lstm-conv", "lstm-projected", "min-gru"])
def test_any_cell(cell):
    """The loss is that of its steps, one by one, and all of its weights learn."""
    model = char_rnn(7, cell=cell, hidden_size=4, rngs=nnx.Rngs(0))
    text = tokens(7)
    params, _, build = split(model)
    loss = jax.jit(jax.value_and_grad(lambda params: build(params).loss(text[:-1], text[1:])[1].cross_entropy))
    value, gradient = loss(params)
    step, carry, logs = jax.jit(model.cell.step), model.initial_carry(3), []
    for token in text[:-1]:
        carry, y = step(model.recurrent.params, carry, jnp.eye(7)[token])
        logits = np.asarray(y, np.float64) @ model.w[...] + model.b[...]
        logs.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    np.testing.assert_allclose(value, -np.take_along_axis(np.stack(logs), text[1:, :, None], 2).mean(), rtol=1e-5)
    assert abs(value - math.log(7)) < 0.3  # almost a guess
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradient["recurrent"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": True, "embedding_size": 3}, "tied weights need an embedding of the cell's output size, 4, got 3"),
        ({"tied": True}, "tied weights need an embedding of the cell's output size, 4, got None"),
        ({"word_dropout": 0.1}, "word_dropout is of rows of an embedding: give embedding_size"),
        ({"output_dropout": 1.0}, "output_dropout must be"),
        ({"embedding_size": 0}, "embedding_size must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        LanguageModel(rnnjax.GRU(4), 7, rngs=nnx.Rngs(0), **settings)
    with pytest.raises(ValueError, match="needs a cell with a step, and Bidirectional has none"):
        LanguageModel(rnnjax.Bidirectional(rnnjax.GRU(4)), 7, rngs=nnx.Rngs(0))


def test_tokens_are_integers():
    model = nnx.eval_shape(lambda: LanguageModel(rnnjax.GRU(4), 7, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match="tokens must be integers, got float32"):
        model(jnp.zeros((3, 2)))
