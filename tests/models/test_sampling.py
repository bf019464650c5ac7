"""What is drawn, against the distribution that it is drawn from, worked out by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.models import LanguageModel, Sampler, sample, stream
from tests.support import slow_unless

P = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
CASES = {
    "plain": (Sampler(), P),
    "temperature": (Sampler(temperature=0.5), P**2 / (P**2).sum()),
    "greedy": (Sampler(temperature=0), np.array([0, 1.0, 0, 0, 0])),
    "top-k": (Sampler(top_k=2), np.array([0, 0.4, 0, 0.3, 0]) / 0.7),
    "top-p": (Sampler(top_p=0.75), np.array([0, 0.4, 0, 0.3, 0.15]) / 0.85),
    "top-p, one": (Sampler(top_p=0.1), np.array([0, 1.0, 0, 0, 0])),
    "top-k, then top-p": (Sampler(top_k=3, top_p=0.8), np.array([0, 0.4, 0, 0.3, 0]) / 0.7),
}


@pytest.mark.parametrize("name", slow_unless(("top-k, then top-p",), CASES))
def test_distribution(name):
    sampler, want = CASES[name]
    got = np.exp(jax.jit(sampler.log_probabilities)(jnp.log(P) + 3.0))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    draws = 20_000
    drawn = jax.jit(sampler.draw)(jax.random.key(0), jnp.broadcast_to(jnp.log(P), (draws, 5)))
    counts = np.bincount(drawn, minlength=5)
    assert not counts[want == 0].any()
    expected = draws * want[want > 0]
    chi_squared = (np.square(counts[want > 0] - expected) / expected).sum()
    assert chi_squared < 18.5  # of 4 degrees of freedom, one in a thousand


@pytest.fixture(scope="module")
def model():
    model = LanguageModel(rnnjax.GRU(4), 6, rngs=nnx.Rngs(0))
    model.w[...] *= 10
    return model


PRIME = np.array([[0, 1], [2, 3], [4, 5]])


@pytest.mark.slow
def test_greedy_text_is_that_of_one_call_on_the_whole_text(model):
    drawn = sample(model, jax.random.key(0), PRIME, 6, Sampler(0.0))
    logits = model(jnp.concatenate([jnp.asarray(PRIME), drawn]))[1]
    np.testing.assert_array_equal(logits[2:-1].argmax(-1), drawn)


def test_pieces_of_a_stream_are_the_whole(model):
    key = jax.random.key(1)
    whole = sample(model, key, PRIME, 12)
    pieces = itertools.islice(stream(model, key, PRIME, every=4), 3)
    np.testing.assert_array_equal(np.concatenate(list(pieces)), whole)
    assert len(set(map(tuple, np.asarray(whole).T))) == 2
    assert np.any(whole != sample(model, jax.random.key(2), PRIME, 12))


@pytest.mark.slow
def test_tokens_of_text_follow_the_model(model):
    """Pairs of drawn tokens, each pair in a text of its own, come as often as the model says."""
    count = 20_000
    drawn = np.asarray(sample(model, jax.random.key(3), np.repeat(PRIME[:, :1], count, 1), 2))
    first = np.exp(jax.nn.log_softmax(model(jnp.asarray(PRIME[:, :1]))[1][-1, 0]))
    texts = jnp.concatenate([jnp.repeat(jnp.asarray(PRIME[:, :1]), 6, 1), jnp.arange(6)[None]])
    second = np.exp(jax.nn.log_softmax(model(texts)[1][-1]))
    pairs = np.bincount(drawn[0] * 6 + drawn[1], minlength=36) / count
    np.testing.assert_allclose(pairs, (first[:, None] * second).ravel(), atol=0.012)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be a number of at least 0, got -1.0"),
        ({"top_k": 0}, "top_k must be an integer of at least 1, got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, got 1.1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**settings)


@pytest.mark.parametrize(
    ("prime", "message"),
    [
        (np.zeros((0, 2), int), "prime must be .* with at least one token"),
        (np.zeros(3, int), "prime must be .*, got shape"),
        (np.full((1, 1), 6), "prime must be tokens from 0 to 5, got 6 to 6"),
    ],
)
def test_bad_prime(model, prime, message):
    with pytest.raises(ValueError, match=message):
        sample(model, jax.random.key(0), prime, 3)
