"""The cells that ONNX nodes become, without the package onnx: recorded outputs of onnxruntime, and gradients."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import OnnxActivation, OnnxGRU, OnnxGRUResetBefore, OnnxLSTM, OnnxRecurrence, OnnxRNN, from_onnx
from rnnjax.interop.onnx.directions import Settings, Weights, cell_of, direction_of
from rnnjax.registry import UnknownName
from tests.interop.onnx_spec import ACTIVATIONS, DEFAULTS, run_node
from tests.support import normal_like, relative_error, slow_unless

RECORDED = json.loads(Path(__file__).with_name("recorded_onnx.json").read_text())["nodes"]


def settings_of(op, attributes, directions):
    """The attributes of a node, direction by direction: what `from_onnx` makes of them, for nodes that give all."""
    alphas, betas = (iter(attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta"))
    names = attributes.get("activations", DEFAULTS[op] * directions)
    activations = [
        OnnxActivation(name, *(next(values) for values in (alphas, betas)[: ACTIVATIONS[name][0]])) for name in names
    ]
    flag = bool(attributes.get("input_forget", attributes.get("linear_before_reset", 0)))
    each = np.array_split(np.arange(len(names)), directions)
    return [Settings(op, tuple(activations[i] for i in own), attributes.get("clip"), flag) for own in each]


def recurrence_of(op, arrays, attributes):
    """A node, by the functions that `from_onnx` is made of."""
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[op]
    directions, _, size = arrays["R"].shape
    arrays = {"B": np.zeros((directions, 2 * gates * size), arrays["R"].dtype)} | arrays
    weights = [Weights(*(arrays[name][d] if name in arrays else None for name in "WRBP")) for d in range(directions)]
    cells, params = zip(*map(cell_of, settings_of(op, attributes, directions), weights), strict=True)
    if directions == 2:
        return OnnxRecurrence(rnnjax.Bidirectional(*cells), rnnjax.BidirectionalParams(*params))
    return OnnxRecurrence(cells[0], params[0], reverse=attributes["direction"] == "reverse")


@pytest.mark.parametrize("node", RECORDED, ids=lambda node: f"{node['op']}-{node['attributes']['direction']}")
def test_recorded_outputs_of_onnxruntime(node):
    op, attributes = node["op"], node["attributes"]
    arrays = {
        name: np.array(value, np.int32 if name == "sequence_lens" else np.float32)
        for name, value in node["inputs"].items()
    }
    names = {"sequence_lens": "lengths", "initial_h": "initial_h", "initial_c": "initial_c"}
    given = {ours: arrays[name] for name, ours in names.items() if name in arrays}
    got = jax.jit(lambda recurrence, xs: recurrence(xs, **given))(recurrence_of(op, arrays, attributes), arrays["X"])
    for ours, want, loop in zip(got, node["outputs"], run_node(op, arrays, attributes), strict=True):
        assert relative_error(ours, want) < 1e-5
        assert relative_error(loop, want) < 1e-5


# --- the general cells ------------------------------------------------------------------------------------------------

ELU = OnnxActivation("Elu", 0.3)
TIME, BATCH, INPUTS, HIDDEN = 3, 2, 2, 3
GENERAL = {
    "rnn": OnnxRNN(HIDDEN, (ELU,), clip=1.5),
    "lstm": OnnxLSTM(HIDDEN, ("Sigmoid", ELU, "Softsign"), clip=1.5),
    "peephole": OnnxLSTM(HIDDEN, ("Softplus", "Tanh", ELU), peepholes=True),
    "coupled": OnnxLSTM(HIDDEN, ("Sigmoid", "Tanh", "Tanh"), input_forget=True, peepholes=True),
    "gru": OnnxGRU(HIDDEN, ("Sigmoid", ELU), clip=1.5),
    "gru-reset-before": OnnxGRUResetBefore(HIDDEN, ("Softsign", ELU), clip=1.5),
}


def node_of(cell, params, xs, lengths):
    """The node that computes a cell: operator, arrays and attributes, for the loop."""
    settings, weights = direction_of(cell, params)
    attributes = {"activations": [each.name for each in settings.activations]}
    for name in ("alpha", "beta"):
        values = [getattr(each, name) for each in settings.activations if getattr(each, name) is not None]
        attributes[f"activation_{name}"] = values
    attributes |= {} if settings.clip is None else {"clip": settings.clip}
    attributes |= {"input_forget": settings.flag} if settings.op == "LSTM" else {"linear_before_reset": settings.flag}
    arrays = {name: array[None] for name, array in weights._asdict().items() if array is not None}
    return settings.op, {"X": xs, "sequence_lens": lengths, **arrays}, attributes


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", slow_unless([*GENERAL][:2], GENERAL))
def test_outputs_and_gradients_of_the_general_cells(name):
    """Against the loop and its central differences, with lengths, under jit and vmap; in float64."""
    cell = GENERAL[name]
    shapes = jax.eval_shape(lambda key: cell.init(key, INPUTS, "float64"), jax.random.key(0))
    seeds = [normal_like(shapes, seed, 0.5) for seed in range(2)]
    random = np.random.RandomState(0)
    xs = random.normal(size=(TIME, BATCH, INPUTS))
    factors = random.normal(size=(TIME, BATCH, HIDDEN))
    lengths = np.array([TIME, 2])

    def loss(params):
        _, ys = rnnjax.unroll(cell, params, xs, lengths=lengths)
        return (factors * ys).sum(), ys

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    (_, ys), gradients = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))(stacked)
    for index, params in enumerate(seeds):
        op, arrays, attributes = node_of(cell, params, xs, lengths)
        assert relative_error(ys[index], run_node(op, arrays, attributes)[0][:, 0]) < 1e-13

        def theirs(changed, op=op, arrays=arrays, attributes=attributes):
            return (factors * run_node(op, arrays | changed, attributes)[0][:, 0]).sum()

        # A gradient of parameters is laid out like parameters, so the same function takes it to ONNX's weights.
        _, wanted, _ = node_of(cell, jax.tree.map(lambda leaf, index=index: leaf[index], gradients), xs, lengths)
        for weight in arrays.keys() - {"X", "sequence_lens"}:
            numerical = central_differences(lambda array, w=weight, f=theirs: f({w: array}), arrays[weight])
            columns = slice(None)
            if weight == "B":  # either bias has the gradient of their sum, but for those of n of a GRU
                half = numerical.shape[1] // 2
                columns = np.r_[:half, 2 * half - HIDDEN : 2 * half] if isinstance(cell, OnnxGRU) else np.r_[:half]
            assert relative_error(wanted[weight][:, columns], numerical[:, columns]) < 1e-7


def central_differences(function, at, step=1e-6):
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        change = np.zeros_like(at)
        change[index] = step
        gradient[index] = (function(at + change) - function(at - change)) / (2 * step)
    return gradient


@pytest.mark.parametrize("name", GENERAL)
def test_initialisation_and_half_precision(name):
    """Parameters of the documented number, a carry in float32, and outputs in the precision of the rest."""
    cell = GENERAL[name]
    params = jax.eval_shape(lambda key: cell.init(key, INPUTS, jnp.bfloat16), jax.random.key(0))
    gates = {"rnn": 1, "gru": 3, "gru-reset-before": 3}.get(name, 4)
    count = gates * (INPUTS + HIDDEN + 1) * HIDDEN
    count += {"gru": HIDDEN, "peephole": 3 * HIDDEN, "coupled": 3 * HIDDEN}.get(name, 0)
    assert sum(leaf.size for leaf in params) == count
    xs = jnp.ones((BATCH, INPUTS), jnp.bfloat16)
    carry, y = jax.jit(cell.step)(normal_like(params, 0), cell.initial_carry((BATCH,)), xs)
    assert (carry.h.dtype, y.dtype) == (jnp.float32, jnp.bfloat16)
    assert np.isfinite(np.asarray(y, np.float32)).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    """The functions, and their gradients where one side of a kink must not spoil the other."""
    count, function = ACTIVATIONS[name]
    parameters = (0.3, 0.7)[:count]
    activation = OnnxActivation(name, *parameters)
    x = np.array([-3.0, -0.4, 0.2, 0.31, 2.5])
    np.testing.assert_allclose(activation(jnp.asarray(x)), function(x, *parameters), rtol=1e-14, atol=1e-16)
    slope = (function(x + 1e-6, *parameters) - function(x - 1e-6, *parameters)) / 2e-6
    gradients = jax.jit(jax.vmap(jax.grad(activation)))(jnp.array([*x, -1e4, 1e4]))
    np.testing.assert_allclose(gradients[:-2], slope, atol=1e-9)
    assert np.isfinite(gradients).all()


def test_defaults_of_activations():
    """Those of the ONNX operators of the same names."""
    defaults = {"LeakyRelu": (0.01,), "ThresholdedRelu": (1.0,), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5)}
    for name, parameters in defaults.items():
        assert OnnxActivation(name).parameters == parameters


def test_settings_that_are_refused():
    with pytest.raises(UnknownName, match="unknown ONNX activation 'tanh': did you mean 'Tanh'"):
        OnnxActivation("tanh")
    with pytest.raises(ValueError, match="ONNX activation ScaledTanh needs beta: the standard has no default"):
        OnnxActivation("ScaledTanh", 1.0)
    with pytest.raises(ValueError, match="ONNX activation Elu takes no beta, got 1"):
        OnnxActivation("Elu", 1.0, 1.0)
    with pytest.raises(ValueError, match=r"activations must be 3, \(f, g, h\), got \('Tanh',\)"):
        OnnxLSTM(3, ("Tanh",))
    with pytest.raises(TypeError, match="activations must be names or OnnxActivations, got 1"):
        OnnxRNN(3, (1,))
    with pytest.raises(ValueError, match="clip must be above 0, or None for no clipping, got 0"):
        OnnxGRU(3, clip=0)


def test_without_the_package_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"from_onnx and to_onnx need the package onnx: pip install 'rnnjax\[onnx\]'"):
        from_onnx("model.onnx")
