"""Truncated backpropagation over a text, and its evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.models import LanguageModel, char_rnn, split
from rnnjax.train import Rules, fit, language, make_optimizer, make_steps, perplexity, start
from tests.support import relative_error


def random_tokens(length, vocabulary=7, seed=0):
    return np.random.RandomState(seed).randint(0, vocabulary, length).astype(np.int32)


def test_parts_of_a_batch_follow_each_other():
    """The columns, one after the other, are the text without its tail."""
    tokens = np.arange(17)
    text = language.batchify(tokens, 3)
    assert text.shape == (5, 3)
    np.testing.assert_array_equal(text.T.ravel(), tokens[:15])
    with pytest.raises(ValueError, match="a text of 5 tokens is too short for a batch of 3: that takes 6"):
        language.batchify(np.arange(5), 3)


@pytest.mark.parametrize("steps", [21, 10])
def test_stretches_meet_every_target_once_and_in_order(steps):
    text = language.batchify(np.arange(3 * (steps + 1)), 3)
    for plan in (language.stretches(text, 5)(0), language.random_stretches(text, 5, seed=1)(2)):
        data = language.padded(text, language.longest(5))
        found = []
        for start_, length in np.stack(plan.items, 1)[: plan.steps]:
            tokens, targets = language.stretch(data, int(start_), language.longest(5))
            np.testing.assert_array_equal(targets[:length], tokens[:length] + 1)
            found.append(targets[:length])
        np.testing.assert_array_equal(np.concatenate(found), text[1:])


def test_random_lengths_are_as_published():
    """N(70, 5^2) in 95 of 100, else N(35, 5^2); the same for the same seed and epoch, and others in others."""
    plan = language.random_stretches(np.zeros((200_001, 1)), 70, seed=0)
    lengths = np.asarray(plan(0).items[1])[: plan(0).steps - 1]
    short = lengths < 52
    np.testing.assert_allclose(short.mean(), 0.05, atol=0.015)
    np.testing.assert_allclose([lengths[~short].mean(), lengths[short].mean()], [69.5, 34.5], rtol=0.03)
    np.testing.assert_allclose(lengths[~short].std(), 5, rtol=0.1)
    assert lengths.max() <= language.longest(70) == 85
    np.testing.assert_array_equal(plan(0).items[1], plan(0).items[1])
    assert np.any(plan(0).items[1] != plan(1).items[1])


@pytest.fixture(scope="module")
def model():
    return LanguageModel(rnnjax.Elman(4), 7, embedding_size=3, rngs=nnx.Rngs(0))


def test_evaluation_does_not_depend_on_how_it_is_cut(model):
    """The loss of the whole text at once, whatever the length. Another batch changes it by what its borders change."""
    params, _, build = split(model)
    tokens = random_tokens(602)

    @jax.jit
    def at_once(text):
        return build(params).loss(text[:-1], text[1:], deterministic=True)[1].cross_entropy

    text = language.batchify(tokens, 2)
    for length in (25, 1000):
        np.testing.assert_allclose(language.evaluator(build, text, length)(params), at_once(text), rtol=1e-6)
    np.testing.assert_allclose(at_once(text), at_once(tokens[:, None]), rtol=1e-2)


def test_sequences_begin_anew_as_often_as_asked(model):
    """A stretch without a step gives back the carry that it began with; the first one always begins anew."""
    params, _, build = split(model)
    loss = jax.jit(language.language_loss(build, 2, restart=0.3))
    text = jnp.zeros((9, 1000), jnp.int32)
    carry = jax.tree.map(jnp.ones_like, model.initial_carry(1000))
    shares = []
    for first in (0, 2):
        h = np.asarray(loss(params, carry, text, (jnp.int32(first), jnp.int32(0)), jax.random.key(0))[1].carry.h)
        anew = (h == 0).all(1)
        np.testing.assert_array_equal(h[~anew], 1)
        shares.append(anew.mean())
    np.testing.assert_allclose(shares, [1, 0.3], atol=0.05)  # 3.5 standard deviations
    with pytest.raises(ValueError, match=r"restart must be from 0 to 1, got 1.5"):
        language.language_loss(build, 2, restart=1.5)


def test_rate_of_random_stretches_is_that_of_their_mean_length(model):
    """As in the paper: the learning rate is times length / 70, not over the longest stretch, of 85."""
    params, _, build = split(model)
    text = language.padded(np.zeros((100, 2), np.int32), language.longest(70))

    @jax.jit
    def scale(length):
        loss = language.language_loss(build, language.longest(70), bptt=70)
        return loss(params, model.initial_carry(2), text, (jnp.int32(0), length), jax.random.key(0))[1].scale

    np.testing.assert_allclose([scale(length) for length in (35, 70, 84)], [0.5, 1, 1.2])


@pytest.mark.slow
def test_a_step_is_the_gradient_of_one_stretch_with_the_carry_of_the_last(model):
    """SGD over two stretches, against gradients of losses whose carry is a number."""
    text = jnp.asarray(language.batchify(random_tokens(23), 2))
    params, _, build = split(model)
    optimizer = make_optimizer("sgd", 0.5)
    steps = make_steps(language.language_loss(build, 5), optimizer)
    state = start(params, optimizer, jax.random.key(0), model.initial_carry(2))
    plan = language.stretches(text, 5)(0)
    got = steps(state, language.padded(text, 5), plan.items, 0, 2)

    carry = None
    for first in (0, 5):

        def loss(params, first=first, carry=carry):
            carry, found = build(params).loss(text[first : first + 5], text[first + 1 : first + 6], carry)
            return found.cross_entropy, carry

        gradient, carry = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    assert relative_error(got.params, params) < 1e-6
    assert relative_error(got.carry, carry) < 1e-6
    assert int(got.totals.work) == 20


@pytest.mark.slow
def test_overfits_a_line_of_text():
    """Characters that repeat are learned by heart, and evaluation knows it."""
    line = "the quick brown fox jumps over the lazy dog. "
    symbols = sorted(set(line))
    tokens = np.array([symbols.index(letter) for letter in 8 * line], np.int32)
    text = language.batchify(tokens, 2)
    model = char_rnn(len(symbols), hidden_size=32, layers=1, rngs=nnx.Rngs(0))
    params, _, build = split(model)
    optimizer = make_optimizer("adam", 0.01, max_norm=1.0)
    steps = make_steps(language.language_loss(build, 30), optimizer)
    state = start(params, optimizer, jax.random.key(0), model.initial_carry(2))
    validate = language.evaluator(build, text, 30)
    plan = language.stretches(text, 30)
    _, progress = fit(steps, state, language.padded(text, 30), plan, validate, Rules(60))
    assert perplexity(progress.best) < 1.2
