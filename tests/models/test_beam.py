"""Beam search beside greedy search and the search of all sequences, written as plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.models import END, START, BeamSearch, split
from tests.models.test_seq2seq import SOURCES, make

LENGTH, VOCABULARY = 3, 6


@pytest.fixture(scope="module")
def parts():
    """A model that is sure of little, and does not end at once."""
    model = make(cell="gru", attention="multiplicative")
    model.decoder.w[...] *= 2
    model.decoder.b[...] = jnp.array([3.0, 0.3, 0, 0.1, 0, 0.2])  # <sos> would be likely, if it were allowed
    params, _, build = split(model)
    return params, build


def run(parts, search):
    params, build = parts
    return jax.tree.map(np.asarray, jax.jit(lambda params: search(build(params), SOURCES))(params))


def scores_of_all(parts, penalty):
    """Every sequence that can be written, and its score for every source; by the probability of whole sequences."""
    allowed = [token for token in range(VOCABULARY) if token not in (START, END)]
    sequences = [
        (*body, END) if len(body) < LENGTH else body
        for length in range(LENGTH + 1)
        for body in itertools.product(allowed, repeat=length)
    ]
    lengths = np.array([len(sequence) for sequence in sequences])
    targets = np.array([(*sequence, *[END] * (LENGTH - len(sequence))) for sequence in sequences])
    params, build = parts

    @jax.jit
    def log_p(params):
        def of(source):
            batch = jax.tree.map(lambda leaf: jnp.repeat(leaf[..., None], len(sequences), -1), source)
            return build(params).log_probability(batch, jnp.asarray(targets.T), jnp.asarray(lengths))

        return jax.vmap(of, in_axes=(jax.tree.map(lambda leaf: leaf.ndim - 1, SOURCES),))(SOURCES)

    return sequences, np.asarray(log_p(params), np.float64) / ((5 + lengths) / 6) ** penalty


@pytest.mark.parametrize("penalty", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_wide_beam_finds_the_best_of_all_sequences_in_order(parts, penalty):
    sequences, scores = scores_of_all(parts, penalty)
    found = run(parts, BeamSearch(LENGTH, VOCABULARY**LENGTH, penalty))
    for row in range(3):
        order = np.argsort(-scores[row])[:20]
        np.testing.assert_allclose(found.scores[row, :20], scores[row, order], rtol=1e-5)
        for place, best in enumerate(order):
            body = [token for token in sequences[best] if token != END]
            assert found.lengths[row, place] == len(body)
            assert list(found.tokens[row, place, : len(body)]) == body
        assert np.isneginf(found.scores[row, len(sequences) :]).all()


def test_width_of_one_is_greedy_and_ends_early(parts):
    """Beside a loop that takes the most probable token until it is <eos>; a longer limit changes nothing."""
    params, build = parts
    model = build(params)
    found = run(parts, BeamSearch(8, 1, 0.5))
    step = jax.jit(lambda params, position, token: build(params).decoder.step(position, token))
    position = model.decoder.start(model.encoder(SOURCES))
    tokens, greedy = jnp.full(3, START), []
    for _ in range(8):
        position, logits = step(params, position, tokens)
        tokens = logits.at[:, START].set(-jnp.inf).argmax(-1)
        greedy.append(np.asarray(tokens))
    for row, column in enumerate(np.array(greedy).T):
        ends = np.flatnonzero(column == END)
        length = ends[0] if len(ends) else 8
        assert found.lengths[row, 0] == length
        np.testing.assert_array_equal(found.tokens[row, 0, :length], column[:length])
        assert set(found.tokens[row, 0, length:]) <= {END}


@pytest.mark.slow
def test_what_is_never_written(parts):
    found = run(parts, BeamSearch(LENGTH, 4, never=(3, 4)))
    assert set(found.tokens.ravel()) <= {END, 2, 5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length must be an integer of at least 1, got 0"),
        ({"length": 3, "width": 0}, "width must be an integer of at least 1, got 0"),
        ({"length": 3, "penalty": -1.0}, "penalty must be from 0 to 10, got -1.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        BeamSearch(**settings)
