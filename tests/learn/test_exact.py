"""Algorithms whose gradients are exact: of every cell those of backpropagation through time."""

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax import compose
from rnnjax.learn import BPTT, RTRL, ClippedBPTT, SnAp1, TruncatedBPTT
from tests.learn.support import BATCH, TIME, Case, learn, network, squares
from tests.support import relative_error, slow_unless

pytestmark = pytest.mark.usefixtures("x64")

LENGTHS = np.array([TIME, 0, 5])
RESETS = np.zeros((TIME, BATCH), bool)
RESETS[3, 0] = RESETS[1, 2] = True
COMPOSED = {
    "stack": lambda: compose.Stack((rnnjax.LSTM(2), rnnjax.Elman(3))),
    "residual": lambda: compose.Residual(rnnjax.GRU(2)),
    "layer-norm": lambda: compose.LayerNorm(rnnjax.LSTM(2)),
    "dilated": lambda: compose.Dilated(rnnjax.GRU(2), 2),
    "learned-carry": lambda: compose.LearnedCarry(rnnjax.Elman(2)),
}


def make(name):
    return network(rnnjax.CELLS[name](3) if name in rnnjax.CELLS else COMPOSED[name]())


@pytest.mark.slow
def test_bptt_is_the_gradient_of_a_python_loop():
    case = Case(network(rnnjax.Elman(3)))

    @jax.jit
    def loop(params):
        total = 0
        for example, length in enumerate(LENGTHS):
            carry = case.cell.initial_carry((), "float64")
            for t in range(length):
                carry = case.cell.initial_carry((), "float64") if RESETS[t, example] else carry
                carry, y = case.cell.step(params, carry, case.xs[t, example])
                total += case.weights[t, example] * squares(y, case.targets[t, example]) / BATCH
        return total

    want = jax.value_and_grad(loop)(case.params)
    assert relative_error(learn(BPTT(), case, lengths=LENGTHS, resets=RESETS)[:2], want) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"remat": 2}, {"remat": "sqrt"}, {"kernel": "blocked"}, {"kernel": "deer"}], ids=str
)
def test_options_of_bptt_change_no_gradient(options):
    case = Case(network(rnnjax.LSTM(3)))
    got, want = (learn(algorithm, case, lengths=LENGTHS, resets=RESETS) for algorithm in (BPTT(**options), BPTT()))
    assert relative_error(got, want) < 1e-12


@pytest.mark.parametrize("name", slow_unless(("lstm",), [*rnnjax.CELLS, *COMPOSED]))
def test_rtrl_is_bptt(name):
    """To rounding, with lengths and resets, and with the initial carry where that is learned."""
    case = Case(make(name))
    got, want = (learn(algorithm, case, lengths=LENGTHS, resets=RESETS) for algorithm in (RTRL(), BPTT()))
    assert relative_error(got[:2], want[:2]) < 1e-12
    assert relative_error(got.carry.carry, want.carry) < 1e-13


def test_rtrl_keeps_no_blocks_that_are_zero():
    """Not of a readout's weights, and of upper layers in a lower layer's carry."""
    cell = network(compose.Stack((rnnjax.Elman(2), rnnjax.Elman(3))))
    case = Case(cell)
    influence = RTRL().start(cell, case.params, case.xs).memory
    shapes = [leaf.shape for leaf in jax.tree.leaves(case.params)]  # of 3 weights a layer and 2 of the readout
    lower, upper = ([None if block is None else block.shape for block in row] for row in influence)
    assert lower == [(BATCH, 2, *shape) for shape in shapes[:3]] + [None] * 5
    assert upper == [(BATCH, 3, *shape) for shape in shapes[:6]] + [None] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["min-gru", "min-lstm"])
def test_snap_is_exact_where_units_do_not_see_each_other(name):
    case = Case(make(name))
    got, want = (learn(algorithm, case, lengths=LENGTHS, resets=RESETS) for algorithm in (SnAp1(), BPTT()))
    assert relative_error(got[:2], want[:2]) < 1e-12


@pytest.mark.slow
def test_nothing_is_clipped_below_the_limit():
    case = Case(network(rnnjax.LSTM(3)))
    want = learn(BPTT(), case, lengths=LENGTHS, resets=RESETS)
    for algorithm in ClippedBPTT(max_norm=1e9), TruncatedBPTT(3, 30):  # and nothing is truncated within the window
        got = learn(algorithm, case, lengths=LENGTHS, resets=RESETS)
        assert relative_error(got[:2], want[:2]) < 1e-12
    assert relative_error(got.carry.carry, want.carry) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [BPTT(), RTRL()], ids=["bptt", "rtrl"])
def test_pieces_of_a_sequence(algorithm):
    """BPTT stops at the edge of a call, and RTRL goes on: its gradients add up to those of the whole."""
    case = Case(network(rnnjax.LSTM(3)), time=2 * TIME)
    carry, total = None, jax.tree.map(np.zeros_like, case.params)
    for part in slice(TIME), slice(TIME, None):
        piece = case.replace(xs=case.xs[part], targets=case.targets[part], weights=case.weights[part])
        _, gradients, carry = learn(algorithm, piece, carry)
        total = jax.tree.map(np.add, total, gradients)
    exact = learn(BPTT() if isinstance(algorithm, RTRL) else TruncatedBPTT(TIME, TIME), case)
    assert relative_error(total, exact.gradients) < 1e-12
