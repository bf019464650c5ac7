"""PyTorch's layers, with all biases random: outputs, gradients, and gradient norms over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import flow
from tests.support import relative_error

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64")]

TIME, BATCH, INPUTS, HIDDEN = 12, 3, 4, 5

LAYERS = {
    "rnn": lambda: torch.nn.RNN(INPUTS, HIDDEN, dtype=torch.float64),
    "rnn-relu": lambda: torch.nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", dtype=torch.float64),
    "lstm": lambda: torch.nn.LSTM(INPUTS, HIDDEN, dtype=torch.float64),
    "gru": lambda: torch.nn.GRU(INPUTS, HIDDEN, dtype=torch.float64),
}


def weights_of(name, w_x, w_h, b_x, b_h):
    """Our parameters from torch's: transposed, and the two biases added wherever they only ever appear as a sum."""
    w_x, w_h, b_x, b_h = (jnp.asarray(np.asarray(leaf)) for leaf in (w_x, w_h, b_x, b_h))
    if name == "lstm":
        return rnnjax.LSTMParams(w_x.T, w_h.T, b_x + b_h)
    if name == "gru":  # r, z and n, as ours; the recurrent bias of n is multiplied by r
        return rnnjax.GRUParams(w_x.T, w_h.T, b_x.at[: 2 * HIDDEN].add(b_h[: 2 * HIDDEN]), b_h[2 * HIDDEN :])
    return rnnjax.ElmanParams(w_x.T, w_h.T, b_x + b_h)


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_gradients_and_norms(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    xs = torch.randn(TIME, BATCH, INPUTS, dtype=torch.float64, requires_grad=True)
    start = [torch.randn(1, BATCH, HIDDEN, dtype=torch.float64) for _ in range(2 if name == "lstm" else 1)]
    factors = torch.randn(TIME, BATCH, HIDDEN, dtype=torch.float64)

    # One call a step, so that every carry is a tensor whose gradient can be kept.
    state, carries, ys = tuple(start), [], []
    for x in xs:
        if name == "lstm":
            _, state = layer(x[None], state)
        else:
            state = (layer(x[None], state[0])[1],)
        for leaf in state:
            leaf.retain_grad()
        carries.append(state)
        # The output and the carry h are one value but two tensors: read the loss from the carry.
        ys.append(state[0][0])
    loss = (factors * torch.stack(ys)).sum()
    loss.backward()

    cell = rnnjax.CELLS[name](HIDDEN)
    params = weights_of(name, *(weight.detach() for weight in layer.parameters()))
    inputs = jnp.asarray(xs.detach().numpy())
    carry = type(cell.initial_carry())(*(jnp.asarray(leaf[0].numpy()) for leaf in start))
    scale = jnp.asarray(factors.numpy())

    def our_loss(params, inputs):
        final, ys = rnnjax.unroll(cell, params, inputs, carry)
        return (scale * ys).sum(), (final, ys)

    (_, (final, our_ys)), (g_params, g_xs) = jax.value_and_grad(our_loss, argnums=(0, 1), has_aux=True)(params, inputs)
    assert relative_error(our_ys, torch.stack(ys).detach().numpy()) < 1e-12
    assert relative_error(jnp.stack(final), torch.cat(state).detach().numpy()) < 1e-12
    assert relative_error(g_xs, xs.grad.numpy()) < 1e-12
    w_x, w_h, b_x, b_h = (np.asarray(weight.grad) for weight in layer.parameters())
    # The gradient of either bias is that of their sum.
    for got, want in zip(g_params, (w_x.T, w_h.T, b_x, b_h[2 * HIDDEN :]), strict=name == "gru"):
        assert relative_error(got, want) < 1e-12

    norms = flow.gradient_norms(cell, params, inputs, lambda carry, ys: (scale * ys).sum((0, 2)), carry).per_example
    for component, kept in zip(norms, zip(*carries, strict=True), strict=True):
        # Torch keeps no gradient of a last cell state that nothing reads.
        theirs = [np.zeros((BATCH, HIDDEN)) if leaf.grad is None else leaf.grad[0].numpy() for leaf in kept]
        np.testing.assert_allclose(np.exp(component[1:]), np.linalg.norm(theirs, axis=-1), rtol=1e-12)


def test_projected_lstm():
    """nn.LSTM with proj_size: outputs, both final states and all gradients."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(INPUTS, HIDDEN, proj_size=3, dtype=torch.float64)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    xs = torch.randn(TIME, BATCH, INPUTS, dtype=torch.float64, requires_grad=True)
    ys, (h, c) = layer(xs)
    (ys.square().sum() + c.sum()).backward()

    cell = rnnjax.ProjectedLSTM(HIDDEN, projection_size=3)
    w_x, w_h, b_x, b_h, w_p = (jnp.asarray(weight.detach().numpy()) for weight in layer.parameters())
    params = rnnjax.ProjectedLSTMParams(w_x.T, w_h.T, b_x + b_h, w_p.T)

    def loss(params, xs):
        final, ys = rnnjax.unroll(cell, params, xs)
        return jnp.square(ys).sum() + final.c.sum(), (ys, final)

    (_, got), (g_params, g_xs) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        params, jnp.asarray(xs.detach().numpy())
    )
    assert relative_error(got, [ys.detach(), h[0].detach(), c[0].detach()]) < 1e-12
    w_x, w_h, b_x, _, w_p = (weight.grad.numpy() for weight in layer.parameters())
    assert relative_error(list(g_params), [w_x.T, w_h.T, b_x, w_p.T]) < 1e-12
    assert relative_error(g_xs, xs.grad.numpy()) < 1e-12
