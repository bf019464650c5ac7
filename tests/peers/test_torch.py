"""PyTorch's layers, with all biases random: outputs, gradients, and gradient norms over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import flow
from rnnjax.interop import from_torch
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
    weights = {name: jnp.asarray(weight.numpy()) for name, weight in layer.state_dict().items()}
    inputs = jnp.asarray(xs.detach().numpy())
    carry = type(cell.initial_carry())(*(jnp.asarray(leaf[0].numpy()) for leaf in start))
    scale = jnp.asarray(factors.numpy())

    def our_loss(weights, inputs):
        final, ys = rnnjax.unroll(cell, from_torch(cell, weights), inputs, carry)
        return (scale * ys).sum(), (final, ys)

    (_, (final, our_ys)), (g_weights, g_xs) = jax.value_and_grad(our_loss, argnums=(0, 1), has_aux=True)(
        weights, inputs
    )
    assert relative_error(our_ys, torch.stack(ys).detach().numpy()) < 1e-12
    assert relative_error(jnp.stack(final), torch.cat(state).detach().numpy()) < 1e-12
    assert relative_error(g_xs, xs.grad.numpy()) < 1e-12
    for weight, parameter in layer.named_parameters():
        assert relative_error(g_weights[weight], parameter.grad.numpy()) < 1e-12

    params = from_torch(cell, layer.state_dict())
    norms = flow.gradient_norms(cell, params, inputs, lambda carry, ys: (scale * ys).sum((0, 2)), carry).per_example
    for component, kept in zip(norms, zip(*carries, strict=True), strict=True):
        # Torch keeps no gradient of a last cell state that nothing reads.
        theirs = [np.zeros((BATCH, HIDDEN)) if leaf.grad is None else leaf.grad[0].numpy() for leaf in kept]
        np.testing.assert_allclose(np.exp(component[1:]), np.linalg.norm(theirs, axis=-1), rtol=1e-12)
