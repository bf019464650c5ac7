"""The LSTM of 1997 against what was published of it."""

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax import flow
from tests.references import logistic
from tests.support import init, normal_like


@pytest.mark.parametrize(
    ("inputs", "blocks", "block_size", "outputs", "hidden_biases", "output_biases", "published"),
    [
        # Experiment 1: 7 symbols, biases for the gates alone.
        (7, 4, 1, 7, 8, 0, 264),
        (7, 3, 2, 7, 6, 0, 276),
        # Experiment 2c: p + 4 symbols, 2 outputs, no biases.
        (54, 2, 1, 2, 0, 0, 364),
        (104, 2, 1, 2, 0, 0, 664),
        (204, 2, 1, 2, 0, 0, 1264),
        (504, 2, 1, 2, 0, 0, 3064),
        (1004, 2, 1, 2, 0, 0, 6064),
        # Experiments 3, 4 and 6: every unit that is not an input is biased, or all but the output.
        (1, 3, 1, 1, 9, 0, 102),
        (2, 2, 2, 1, 8, 1, 93),
        (8, 2, 2, 4, 8, 4, 156),
        (8, 3, 2, 8, 12, 8, 308),
    ],
)
def test_published_weight_counts(inputs, blocks, block_size, outputs, hidden_biases, output_biases, published):
    cell = rnnjax.LSTM1997(blocks * block_size, block_size)
    params = jax.eval_shape(lambda key: cell.init(key, inputs), jax.random.key(0))
    readout = outputs * cell.output_size + output_biases
    assert params.w_x.size + params.w_h.size + hidden_biases + readout == published
    assert params.b.size == cell.hidden_size + 2 * blocks


@pytest.mark.usefixtures("x64")
def test_cells_of_a_block_share_its_gates():
    """Two blocks of three cells, cell by cell."""
    cell = rnnjax.LSTM1997(6, 3)
    params = normal_like(init(cell, 2, "float64"), 0)
    carry = normal_like(cell.initial_carry((), "float64"), 1)
    x = np.array([0.3, -1.2])
    net = x @ params.w_x + np.concatenate([carry.h, carry.gates]) @ params.w_h + params.b
    new, y = cell.step(params, carry, x)
    for unit in range(6):
        block = unit // 3
        opened, shown = logistic(net[block]), logistic(net[2 + 6 + block])
        c = carry.c[unit] + opened * (4 * logistic(net[2 + unit]) - 2)
        np.testing.assert_allclose(new.c[unit], c, rtol=1e-12)
        np.testing.assert_allclose(y[unit], shown * (2 * logistic(c) - 1), rtol=1e-12)
        np.testing.assert_allclose([new.gates[block], new.gates[2 + block]], [opened, shown], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_network_of_experiment_2a():
    """One cell with an input gate alone, its input logistic and its output as it is, beside direct connections."""
    cell = rnnjax.LSTM1997(1, output_gate=False, g="logistic", h="identity")
    network = rnnjax.Readout(cell, 3, direct=True)
    params = normal_like(init(network, 2, "float64"), 0)
    carry = normal_like(network.initial_carry((), "float64"), 1)
    x = np.array([0.3, -1.2])
    own = params.cell
    net = x @ own.w_x + np.array([carry.h[0], carry.gates[0]]) @ own.w_h + own.b
    c = carry.c[0] + logistic(net[0]) * logistic(net[1])
    new, y = network.step(params, carry, x)
    np.testing.assert_allclose([new.c[0], new.h[0], new.gates[0]], [c, c, logistic(net[0])], rtol=1e-12)
    np.testing.assert_allclose(y, c * params.w[0] + x @ params.w_x + params.b, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_constant_error_carousel():
    """Without recurrent weights dc_T/dc_t is the identity at any lag: there is no gate that could forget."""
    cell = rnnjax.LSTM1997(4, 2)
    drawn = normal_like(init(cell, 2, "float64"), 0)
    params = drawn._replace(w_h=0 * drawn.w_h)
    norms = flow.jacobian_norms(cell, params, np.ones((200, 2)), of="c", lags=[1, 50, 200], singular_values=True)
    np.testing.assert_allclose(norms.log_singular_values, 0, atol=1e-12)


def test_gate_biases_are_those_of_their_blocks():
    cell = rnnjax.LSTM1997(4, 2, input_gate_bias=(-3.0, -6.0), output_gate_bias=-1.0)
    np.testing.assert_array_equal(init(cell, 2).b, [-3, -6, 0, 0, 0, 0, -1, -1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_size": 3}, "hidden_size must be a multiple of block_size, 3, got 4"),
        (
            {"output_gate_bias": np.ones(3)},
            r"output_gate_bias must be one number, or one for each of 4 blocks, got \[1. 1. 1.\]",
        ),
        ({"g": "tanh"}, "g must be symmetric or logistic, got 'tanh'"),
        ({"h": "logistic"}, "h must be symmetric or identity, got 'logistic'"),
        (
            {"output_gate": False, "output_gate_bias": -1.0},
            "output_gate_bias has no effect without output gates, got -1.0",
        ),
        ({"block_size": 0}, "block_size must be an integer of at least 1, got 0"),
        (
            {"input_gate_bias": (1.0,)},
            r"input_gate_bias must be one number, or one for each of 4 blocks, got \(1.0,\)",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        rnnjax.LSTM1997(4, **settings)
