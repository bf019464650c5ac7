"""Every registered cell once more, as plain float64 numpy: what the conformance battery holds the package against.

A new cell needs an entry in `REFERENCES`; without one the battery fails by its name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
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


def gru_layer_norm(params, carry, x):
    size = carry.h.shape[-1]

    def net(gate, h):
        block = slice(gate * size, (gate + 1) * size)
        return params.gain[block] * norm(x @ params.w_x[:, block] + h @ params.w_h[:, block]) + params.b[block]

    r, z = logistic(net(0, carry.h)), logistic(net(1, carry.h))
    n = np.tanh(net(2, r * carry.h))
    h = z * carry.h + (1 - z) * n
    return carry._replace(h=h), h


def norm(z):
    return (z - z.mean()) / np.sqrt(z.var() + 1e-5)


def elman_layer_norm(params, carry, x):
    h = np.tanh(params.gain * norm(x @ params.w_x + carry.h @ params.w_h) + params.b)
    return carry._replace(h=h), h


def lstm_layer_norm(params, carry, x):
    net = np.concatenate([norm(gate) for gate in np.split(x @ params.w_x + carry.h @ params.w_h, 4)])
    i, f, g, o = np.split(params.gain * net + params.b, 4)
    c = logistic(f) * carry.c + logistic(i) * np.tanh(g)
    h = logistic(o) * np.tanh(params.gain_c * norm(c) + params.b_c)
    return carry._replace(h=h, c=c), h


def lstm_1997(params, carry, x):
    """Unit by unit, with blocks of one cell."""
    net = x @ params.w_x + np.concatenate([carry.h, carry.gates]) @ params.w_h + params.b
    net_in, net_c, net_out = np.split(net, 3)
    opened, shown = logistic(net_in), logistic(net_out)
    c = carry.c + opened * (4 * logistic(net_c) - 2)
    h = shown * (2 * logistic(c) - 1)
    return carry._replace(h=h, c=c, gates=np.concatenate([opened, shown])), h


def lstm_peephole(params, carry, x):
    i, f, g, o = np.split(x @ params.w_x + carry.h @ params.w_h + params.b, 4)
    p_i, p_f, p_o = np.split(params.peephole, 3)
    c = logistic(f + p_f * carry.c) * carry.c + logistic(i + p_i * carry.c) * np.tanh(g)
    h = logistic(o + p_o * c) * np.tanh(c)
    return carry._replace(h=h, c=c), h


def lstm_coupled(params, carry, x):
    f, g, o = np.split(x @ params.w_x + carry.h @ params.w_h + params.b, 3)
    c = logistic(f) * carry.c + (1 - logistic(f)) * np.tanh(g)
    h = logistic(o) * np.tanh(c)
    return carry._replace(h=h, c=c), h


def lstm_projected(params, carry, x):
    carry, h = lstm(params, carry, x)
    return carry._replace(h=h @ params.w_p), h @ params.w_p


def slstm(params, carry, x):
    """Without a stabiliser: c and n as they are, then divided by exp(m)."""
    i, f, g, o = np.split(x @ params.w_x + carry.h @ params.w_h + params.b, 4)
    c = logistic(f) * carry.c * np.exp(carry.m) + np.exp(i) * np.tanh(g)
    n = logistic(f) * carry.n * np.exp(carry.m) + np.exp(i)
    m = np.where(carry.n == 0, i, np.maximum(np.log(logistic(f)) + carry.m, i))
    h = logistic(o) * c / n
    return carry._replace(h=h, c=c / np.exp(m), n=n / np.exp(m), m=m), h


def mgu(params, carry, x):
    x_f, x_n = np.split(x @ params.w_x + params.b, 2)
    w_f, w_n = np.split(params.w_h, 2, -1)
    f = logistic(x_f + carry.h @ w_f)
    h = (1 - f) * carry.h + f * np.tanh(x_n + (f * carry.h) @ w_n)
    return carry._replace(h=h), h


def positive(x):
    return np.where(x >= 0, x + 0.5, logistic(x))


def min_gru(params, carry, x):
    z, n = np.split(x @ params.w_x + params.b, 2)
    h = (1 - logistic(z)) * carry.h + logistic(z) * positive(n)
    return carry._replace(h=h), h


def min_lstm(params, carry, x):
    i, f, n = np.split(x @ params.w_x + params.b, 3)
    f, i = logistic(f), logistic(i)
    h = f / (f + i) * carry.h + i / (f + i) * positive(n)
    return carry._replace(h=h), h


def lru(params, carry, x):
    eigenvalues = np.exp(-np.exp(params.log_nu) + 1j * np.exp(params.log_theta))
    inputs = np.exp(params.log_gamma) * (x @ (params.b_re + 1j * params.b_im))
    state = eigenvalues * (carry.re + 1j * carry.im) + inputs
    y = (state @ (params.c_re + 1j * params.c_im)).real + x @ params.d
    return carry._replace(re=state.real, im=state.imag), y


def lstm_conv(params, carry, x):
    """Position by position of a line, each with the same input, and with its neighbours' states."""
    c, h = np.empty_like(carry.c), np.empty_like(carry.h)
    for here in range(len(h)):
        net = params.b
        for tap, there in enumerate((here - 1, here, here + 1)):
            if 0 <= there < len(h):
                net = net + x @ params.w_x[tap] + carry.h[there] @ params.w_h[tap]
        i, f, g, o = np.split(net, 4)
        c[here] = logistic(f) * carry.c[here] + logistic(i) * np.tanh(g)
        h[here] = logistic(o) * np.tanh(c[here])
    return carry._replace(h=h, c=c), h.ravel()


# --- compositions: the equations around the steps above ---------------------------------------------------------------


def stack(*steps):
    def stacked(params, carry, x):
        after = []
        for step, own, before in zip(steps, params.layers, carry.layers, strict=True):
            new, x = step(own, before, x)
            after.append(new)
        return carry._replace(layers=tuple(after)), x

    return stacked


def residual(inner):
    def step(params, carry, x):
        carry, y = inner(params, carry, x)
        return carry, x + y

    return step


def layer_norm(inner):
    def step(params, carry, x):
        carry, y = inner(params.cell, carry, x)
        return carry, params.gain * norm(y) + params.b

    return step


def readout(inner):
    def step(params, carry, x):
        carry, y = inner(params.cell, carry, x)
        return carry, y @ params.w + params.b

    return step


def zoneout(inner, rates):
    """In evaluation; the output of the inner cell is its h."""

    def step(params, carry, x):
        new, _ = inner(params, carry, x)
        kept = [rate * old + (1 - rate) * new for rate, old, new in zip(rates, carry, new, strict=True)]
        return type(carry)(*kept), kept[0]

    return step


def dilated(inner):
    def step(params, carry, x):
        new, y = inner(params, jax.tree.map(lambda past: past[0], carry.past), x)
        past = jax.tree.map(lambda past, new: np.concatenate([past[1:], new[None]]), carry.past, new)
        return carry._replace(past=past), y

    return step


def learned_carry(inner):
    return lambda params, carry, x: inner(params.cell, carry, x)


class Reference(NamedTuple):
    """What is known of a cell without its code."""

    step: Callable[..., Any]
    """`(params, carry, x) -> (carry, y)`, in numpy, of one example."""
    parameters: Callable[[int, int], int]
    """The number of parameters, of the number of inputs and the hidden size, as the cell's docstring says."""
    positive: tuple[str, ...] = ()
    """Components of the carry that are never negative in use."""


def gates(count, more=0):
    """The parameters of `count` gates and `more` vectors."""
    return lambda inputs, hidden: count * (inputs + hidden + 1) * hidden + more * hidden


REFERENCES = {
    "rnn": Reference(elman(np.tanh), gates(1)),
    "rnn-relu": Reference(elman(lambda x: np.maximum(x, 0)), gates(1)),
    "rnn-identity": Reference(elman(lambda x: x), gates(1)),
    "rnn-logistic": Reference(elman(logistic), gates(1)),
    "rnn-layer-norm": Reference(elman_layer_norm, gates(1, 1)),
    "irnn": Reference(elman(lambda x: np.maximum(x, 0)), gates(1)),
    "lstm": Reference(lstm, gates(4)),
    "lstm-1997": Reference(lstm_1997, lambda inputs, hidden: (inputs + 3 * hidden + 1) * 3 * hidden),
    "lstm-peephole": Reference(lstm_peephole, gates(4, 3)),
    "lstm-coupled": Reference(lstm_coupled, gates(3)),
    "lstm-projected": Reference(
        lstm_projected,
        lambda inputs, hidden: 4 * (inputs + (hidden + 1) // 2 + 1) * hidden + hidden * ((hidden + 1) // 2),
    ),
    "lstm-layer-norm": Reference(lstm_layer_norm, gates(4, 6)),
    "lstm-conv": Reference(lstm_conv, lambda inputs, hidden: 4 * (3 * (inputs + hidden) + 1) * hidden),
    "slstm": Reference(slstm, gates(4), positive=("n",)),
    "gru": Reference(gru, gates(3, 1)),
    "gru-reset-before": Reference(gru_reset_before, gates(3)),
    "gru-layer-norm": Reference(gru_layer_norm, gates(3, 3)),
    "mgu": Reference(mgu, gates(2)),
    "min-gru": Reference(min_gru, lambda inputs, hidden: 2 * (inputs + 1) * hidden),
    "min-lstm": Reference(min_lstm, lambda inputs, hidden: 3 * (inputs + 1) * hidden),
    "lru": Reference(lru, lambda inputs, hidden: 3 * hidden + 3 * inputs * hidden + 2 * hidden**2),
}


def unroll(step, params, xs, carry, *, lengths=None, reverse=False):
    """A reference step over time, one example at a time: `xs` `[time, batch, features]`, the carry of `[batch, n]`.

    Only the real part of a sequence is ever looked at, forwards or backwards; the other outputs stay zero.
    """
    time, batch, _ = xs.shape

    def of(example):
        return jax.tree.map(lambda leaf: leaf[example], carry)

    _, y = step(params, of(0), xs[0, 0])
    finals, columns = [], []
    for example in range(batch):
        state = of(example)
        steps = range(time if lengths is None else lengths[example])
        ys = {}
        for t in reversed(steps) if reverse else steps:
            state, ys[t] = step(params, state, xs[t, example])
        finals.append(state)
        columns.append([ys.get(t, np.zeros_like(y)) for t in range(time)])
    return jax.tree.map(lambda *leaves: np.stack(leaves), *finals), np.array(columns).swapaxes(0, 1)


def bidirectional(forward, backward, params, xs, carry, *, lengths=None, reverse=False):
    """Both directions of `unroll`, side by side."""
    ahead, ys = unroll(forward, params.forward, xs, carry.forward, lengths=lengths, reverse=reverse)
    back, more = unroll(backward, params.backward, xs, carry.backward, lengths=lengths, reverse=not reverse)
    return carry._replace(forward=ahead, backward=back), np.concatenate([ys, more], -1)
