"""Every registered cell once more, as plain float64 numpy: what the conformance battery holds the package against.

A new cell needs an entry in `REFERENCES`; without one the battery fails by its name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


def logistic(x):
    return 1 / (1 + np.exp(-x))


def elman(activation):
    def step(params, carry, x):
        h = activation(x @ params.w_x + carry.h @ params.w_h + params.b)
        return carry._replace(h=h), h

    return step


def lstm(params, carry, x):
    i, f, g, o = np.split(x @ params.w_x + carry.h @ params.w_h + params.b, 4, -1)
    c = logistic(f) * carry.c + logistic(i) * np.tanh(g)
    h = logistic(o) * np.tanh(c)
    return carry._replace(h=h, c=c), h


def gru(params, carry, x):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b, 3, -1)
    h_r, h_z, h_n = np.split(carry.h @ params.w_h, 3, -1)
    r, z = logistic(x_r + h_r), logistic(x_z + h_z)
    n = np.tanh(x_n + r * (h_n + params.b_h))
    h = z * carry.h + (1 - z) * n
    return carry._replace(h=h), h


def gru_reset_before(params, carry, x):
    x_r, x_z, x_n = np.split(x @ params.w_x + params.b, 3, -1)
    w_r, w_z, w_n = np.split(params.w_h, 3, -1)
    r, z = logistic(x_r + carry.h @ w_r), logistic(x_z + carry.h @ w_z)
    n = np.tanh(x_n + (r * carry.h) @ w_n)
    h = z * carry.h + (1 - z) * n
    return carry._replace(h=h), h


class Reference(NamedTuple):
    """What is known of a cell without its code."""

    step: Callable[..., Any]
    """`(params, carry, x) -> (carry, y)`, in numpy."""
    parameters: Callable[[int, int], int]
    """The number of parameters, of the number of inputs and the hidden size, as the cell's docstring says."""


REFERENCES = {
    "rnn": Reference(elman(np.tanh), lambda inputs, hidden: (inputs + hidden + 1) * hidden),
    "rnn-relu": Reference(elman(lambda x: np.maximum(x, 0)), lambda inputs, hidden: (inputs + hidden + 1) * hidden),
    "rnn-identity": Reference(elman(lambda x: x), lambda inputs, hidden: (inputs + hidden + 1) * hidden),
    "rnn-logistic": Reference(elman(logistic), lambda inputs, hidden: (inputs + hidden + 1) * hidden),
    "lstm": Reference(lstm, lambda inputs, hidden: 4 * (inputs + hidden + 1) * hidden),
    "gru": Reference(gru, lambda inputs, hidden: 3 * (inputs + hidden + 1) * hidden + hidden),
    "gru-reset-before": Reference(gru_reset_before, lambda inputs, hidden: 3 * (inputs + hidden + 1) * hidden),
}


def unroll(step, params, xs, carry, *, lengths=None, reverse=False):
    """A reference step over time, one example at a time: `xs` `[time, batch, features]`, the carry of `[batch, n]`.

    Only the real part of a sequence is ever looked at, forwards or backwards; the other outputs stay zero.
    """
    time, batch, _ = xs.shape
    finals, columns = [], []
    for example in range(batch):
        state = type(carry)(*(leaf[example] for leaf in carry))
        steps = range(time if lengths is None else lengths[example])
        ys = {}
        for t in reversed(steps) if reverse else steps:
            state, ys[t] = step(params, state, xs[t, example])
        finals.append(state)
        columns.append([ys.get(t, np.zeros_like(state.h)) for t in range(time)])
    final = type(carry)(*(np.stack(leaves) for leaves in zip(*finals, strict=True)))
    return final, np.array(columns).swapaxes(0, 1)
