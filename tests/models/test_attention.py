"""Attention beside the equations of its papers in plain numpy, and its padding full of garbage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.models import ATTENTIONS, Additive, Attending, Multiplicative, attend, remember
from rnnjax.models.attention import AttendingParams, carry_size
from tests.support import normal_like, sampler

SOURCE, BATCH, FEATURES, QUERY = 5, 3, 4, 6
LENGTHS = np.array([5, 2, 3])
MASK = np.arange(SOURCE)[:, None] < LENGTHS
RANDOM = np.random.RandomState(0)
VALUES = RANDOM.randn(SOURCE, BATCH, FEATURES).astype(np.float32)
QUERIES = RANDOM.randn(2, BATCH, QUERY).astype(np.float32)


def draw(attention):
    return normal_like(jax.eval_shape(lambda: attention.init(jax.random.key(0), QUERY, FEATURES)), 1)


def additive(params, query, value):
    return params.v @ np.tanh(query @ params.w_query + value @ params.w_key)


def multiplicative(params, query, value):
    return query @ (value @ params.w) / np.sqrt(len(query))


@pytest.mark.parametrize(("name", "score"), [("additive", additive), ("multiplicative", multiplicative)])
def test_contexts_are_those_of_the_equations_whatever_the_padding_holds(name, score):
    attention = ATTENTIONS[name](7)
    params = draw(attention)
    garbage = np.where(MASK[..., None], VALUES, np.nan)
    memory = remember(attention, params, jnp.asarray(garbage), jnp.asarray(MASK))
    contexts, weights = attend(attention, params, memory, jnp.asarray(QUERIES))
    for step in range(2):
        for row, length in enumerate(LENGTHS):
            scores = np.array([score(params, QUERIES[step, row], VALUES[j, row]) for j in range(length)], np.float64)
            want = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[step, row, :length], want, rtol=1e-5)
            assert not np.any(weights[step, row, length:])
            np.testing.assert_allclose(contexts[step, row], want @ VALUES[:length, row], rtol=1e-4)


def test_parameters_are_as_many_as_documented():
    def count(attention):
        return sum(leaf.size for leaf in draw(attention))

    assert count(Additive(7)) == (QUERY + FEATURES + 1) * 7
    assert count(Multiplicative()) == FEATURES * QUERY


def test_cell_that_attends_is_a_loop_of_attention_and_step():
    """`unroll` of the cell beside the loop that its docstring gives."""
    cell = rnnjax.LSTM(3)
    attention = Additive(4)
    attending = Attending(cell, attention, (BATCH, SOURCE, FEATURES))
    params = normal_like(jax.eval_shape(lambda: attending.init(jax.random.key(0), 2)), 2)
    memory = remember(attention, params.attention, jnp.asarray(VALUES), jnp.asarray(MASK))
    params = AttendingParams(params.cell, params.attention, memory)
    xs = jnp.asarray(np.random.RandomState(3).randn(4, BATCH, 2), jnp.float32)
    assert (carry_size(cell), attending.input_size(params), attending.output_size) == (6, 2, 7)

    @sampler
    def both(params, xs):
        carry, wanted = cell.initial_carry((BATCH,)), []
        for x in xs:
            context, _ = attend(attention, params.attention, params.memory, jnp.concatenate([carry.h, carry.c], -1))
            carry, y = cell.step(params.cell, carry, jnp.concatenate([x, context], -1))
            wanted.append(jnp.concatenate([y, context], -1))
        return rnnjax.unroll(attending, params, xs)[1], jnp.stack(wanted)

    np.testing.assert_allclose(*both(params, xs), rtol=1e-5, atol=1e-6)


def test_names():
    assert set(ATTENTIONS) == {"additive", "multiplicative"}
    with pytest.raises(ValueError, match="did you mean 'additive'"):
        ATTENTIONS["aditive"]
    with pytest.raises(ValueError, match="size must be an integer of at least 1, got 0"):
        Additive(0)
