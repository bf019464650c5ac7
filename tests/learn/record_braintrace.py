"""Writes recorded_braintrace.json, gradients of an RNN by another library: `python -m tests.learn.record_braintrace`.

Needs braintrace (C. Wang et al., https://pypi.org/project/braintrace/), in an environment of its own.
"""

import json
from pathlib import Path

import brainstate
import braintrace
import jax
import jax.numpy as jnp
import numpy as np

FILE = Path(__file__).with_name("recorded_braintrace.json")
TIME, INPUTS, HIDDEN = 6, 2, 3


class Network(brainstate.nn.Module):
    """A tanh RNN."""

    def __init__(self, w_x, w_h, b):
        super().__init__()
        self.rnn = braintrace.nn.ValinaRNNCell(INPUTS, HIDDEN, activation="tanh")
        self.rnn.W.weight.value = {"weight": jnp.concatenate([w_x, w_h]), "bias": jnp.asarray(b)}

    def update(self, x):
        return self.rnn(x)


def gradients(arrays, algorithm, **options):
    """dL/dw_x, dL/dw_h and dL/db of L = sum over t of |h_t - target_t|^2."""
    model = Network(arrays["w_x"], arrays["w_h"], arrays["b"])
    learner = braintrace.compile(model, algorithm, jnp.asarray(arrays["xs"][0]), **options)
    found = learner.etrace_grad(
        jnp.asarray(arrays["xs"]),
        jnp.asarray(arrays["targets"]),
        step_fn=lambda x, target: jnp.square(learner(x) - target).sum(),
        reduction="sum",
    )
    ((_, weights),) = found.items()
    whole = np.asarray(weights["weight"])
    return {"w_x": whole[:INPUTS], "w_h": whole[INPUTS:], "b": np.asarray(weights["bias"])}


def records():
    random = np.random.RandomState(0)
    shapes = {"w_x": (INPUTS, HIDDEN), "w_h": (HIDDEN, HIDDEN), "b": (HIDDEN,)}
    shapes |= {"xs": (TIME, INPUTS), "targets": (TIME, HIDDEN)}
    arrays = {name: random.standard_normal(shape).round(3) for name, shape in shapes.items()}
    made = {"rtrl": gradients(arrays, braintrace.SnAp, n=HIDDEN), "snap-1": gradients(arrays, braintrace.SnAp, n=1)}
    return {"version": braintrace.__version__, "data": arrays, **made}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    plain = json.dumps(records(), default=lambda array: array.tolist(), indent=1)
    FILE.write_text(plain + "\n", encoding="utf-8")
