"""There and back without any other library: exactly what came, in its precision; and what is refused, in one line."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import from_flax, from_keras, from_torch, to_flax, to_keras, to_torch
from tests.interop.parity import draw

INPUTS = 3
LSTM, GRU, RESET_BEFORE = rnnjax.LSTM(2), rnnjax.GRU(2), rnnjax.GRUResetBefore(2)

SINGLE = {
    "rnn": rnnjax.Elman(2),
    "rnn-relu": rnnjax.Elman(2, activation="relu"),
    "lstm": LSTM,
    "lstm-projected": rnnjax.ProjectedLSTM(3, projection_size=2),
    "gru": GRU,
    "gru-reset-before": RESET_BEFORE,
}
NETWORKS = {
    **SINGLE,
    **{f"{name}-bidirectional": rnnjax.Bidirectional(cell) for name, cell in SINGLE.items()},
    **{f"{name}-deep": rnnjax.Stack((cell, cell)) for name, cell in SINGLE.items()},
    **{f"{name}-both": rnnjax.Stack((rnnjax.Bidirectional(cell),) * 2) for name, cell in SINGLE.items()},
}
TORCH = {name: cell for name, cell in NETWORKS.items() if "before" not in name}
KERAS = {name: cell for name, cell in NETWORKS.items() if "projected" not in name} | {
    "sizes": rnnjax.Stack((rnnjax.Elman(4), rnnjax.Bidirectional(LSTM, rnnjax.LSTM(5)), GRU)),
    "sum": rnnjax.Bidirectional(GRU, merge="sum"),
    "logistic": rnnjax.Elman(2, activation=jax.nn.sigmoid),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_round_trip(name):
    params = draw(TORCH[name], INPUTS)
    chex.assert_trees_all_equal(from_torch(TORCH[name], to_torch(TORCH[name], params)), params, strict=True)


@pytest.mark.parametrize("name", KERAS)
def test_keras_round_trip(name):
    params = draw(KERAS[name], INPUTS)
    chex.assert_trees_all_equal(from_keras(KERAS[name], to_keras(KERAS[name], params)), params, strict=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_every_precision_is_kept(dtype):
    with jax.enable_x64(dtype == "float64"):
        params = draw(GRU, INPUTS, dtype)
        for there, back in ((to_torch, from_torch), (to_keras, from_keras)):
            exported = there(GRU, params)
            assert all(array.flags.writeable for array in jax.tree.leaves(exported))
            assert {array.dtype for array in jax.tree.leaves(exported)} == {jnp.dtype(dtype)}
            chex.assert_trees_all_equal(back(GRU, exported), params, strict=True)


def test_biases_of_pytorch():
    """Those of an LSTM are added, that of a GRU's candidate is not: it is multiplied by the reset gate."""
    weights = to_torch(GRU, draw(GRU, INPUTS))
    weights["bias_hh_l0"] = np.arange(1.0, 7.0, dtype=np.float32)
    params = from_torch(GRU, weights)
    np.testing.assert_array_equal(params.b, weights["bias_ih_l0"] + np.array([1, 2, 3, 4, 0, 0], np.float32))
    np.testing.assert_array_equal(params.b_h, [5, 6])
    weights = to_torch(LSTM, draw(LSTM, INPUTS))
    weights["bias_hh_l0"] = np.arange(8, dtype=np.float32)
    np.testing.assert_array_equal(from_torch(LSTM, weights).b, weights["bias_ih_l0"] + weights["bias_hh_l0"])


def test_weights_are_copied():
    """JAX takes NumPy's memory for its own where that begins at a multiple of 64 bytes, and a layer may train on."""
    weights = to_keras(SINGLE["rnn"], draw(SINGLE["rnn"], INPUTS))
    aligned = [aligned_like(array) for array in weights]
    params = from_keras(SINGLE["rnn"], aligned)
    for array in aligned:
        array.fill(7.0)
    chex.assert_trees_all_equal(list(params), weights)


def aligned_like(array):
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_layers_without_biases():
    params = draw(GRU, INPUTS)
    bare = params._replace(b=jnp.zeros(6), b_h=jnp.zeros(2))
    for there, back in ((to_torch, from_torch), (to_keras, from_keras)):
        exported = there(GRU, bare, bias=False)
        assert len(exported) == 2
        chex.assert_trees_all_equal(back(GRU, exported, bias=False), bare, strict=True)


def test_dropout_changes_no_weights():
    """Loaded without it, the parameters are those of the network that trains with it."""
    params = draw(NETWORKS["lstm-deep"], INPUTS)
    loaded = from_torch(NETWORKS["lstm-deep"], to_torch(NETWORKS["lstm-deep"], params))
    xs = jnp.asarray(np.random.RandomState(0).standard_normal((4, INPUTS)), jnp.float32)
    _, want = rnnjax.unroll(NETWORKS["lstm-deep"], params, xs)
    with_dropout = rnnjax.Stack((rnnjax.Dropout(LSTM, 0.5), LSTM))
    _, got = rnnjax.unroll(with_dropout, loaded, xs, deterministic=True)
    np.testing.assert_allclose(got, want, rtol=1e-6)


STACK = rnnjax.Stack((LSTM, LSTM))
BIDIRECTIONAL = rnnjax.Bidirectional(GRU)
LSTM_PARAMS, GRU_PARAMS, STACK_PARAMS = (draw(cell, INPUTS) for cell in (LSTM, GRU, STACK))
STATE = to_torch(LSTM, LSTM_PARAMS)
KERNEL, RECURRENT, BIAS = WEIGHTS = to_keras(GRU, GRU_PARAMS)
LINEN = to_flax(GRU, GRU_PARAMS, "linen.GRUCell")


def torch(cell=LSTM, bias=True, without=(), **changes):
    """`from_torch` of an LSTM's weights, with some taken out, and others put in."""
    kept = {name: array for name, array in STATE.items() if name not in without}
    return lambda: from_torch(cell, {**kept, **changes}, bias=bias)


def keras(cell, *weights):
    return lambda: from_keras(cell, weights)


def linen(cell=GRU, kind="linen.GRUCell", **changes):
    """`from_flax` of a GRU's weights, with some replaced."""
    return lambda: from_flax(cell, {**LINEN, **changes}, kind)


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


NAMES = [
    (
        "weights missing bias_hh_l0: LSTM has weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, "
        "got weight_ih_l0, weight_hh_l0, bias_ih_l0",
        torch(without=["bias_hh_l0"]),
    ),
    (r"weights missing weight_ih_l0, .*: LSTM has .*, got none", torch(without=STATE)),
    (r"weights missing weight_ih_l1, .*, bias_hh_l1: Stack has .*, got .*", torch(STACK)),
    (r"weights unexpected fc_weight: LSTM has .*, got .*, fc_weight", torch(fc_weight=ones(2))),
    (r"weights missing bias_hh_l0 and unexpected c: .*", torch(without=["bias_hh_l0"], c=ones(8))),
    (r"weights unexpected bias_ih_l0, bias_hh_l0: LSTM has weight_ih_l0, weight_hh_l0, got .*", torch(bias=False)),
    (r"GRU has 3 weights \(kernel, recurrent_kernel, bias\), got 2", keras(GRU, KERNEL, RECURRENT)),
    (
        r"Bidirectional has 6 weights \(forward\.kernel, .*, backward\.bias\), got 3",
        keras(BIDIRECTIONAL, *WEIGHTS),
    ),
    (r"weights missing hn\.bias: GRU has .*", linen(hn={"kernel": LINEN["hn"]["kernel"]})),
    (r"weights unexpected params\.hn\.bias, .*: GRU has .*", linen(params=LINEN)),
]
SHAPES = [
    (r"weight_hh_l0 has shape \(8, 3\), but LSTM of 3 inputs has \(8, 2\)", torch(weight_hh_l0=ones(8, 3))),
    (r"weight_ih_l0 has shape \(6,\), but LSTM of 1 inputs has \(8, 1\)", torch(weight_ih_l0=ones(6))),
    (r"weight_ih_l0 has shape \(8, 0\), but LSTM of 1 inputs has \(8, 1\)", torch(weight_ih_l0=ones(8, 0))),
    (r"weight_ih_l0 has shape \(8, 3\), but GRU of 3 inputs has \(6, 3\)", torch(GRU)),
    (
        r"weight_ih_l1 has shape \(8, 3\), but Stack of 3 inputs has \(8, 2\)",
        torch(STACK, **{f"{name[:-1]}1": array for name, array in STATE.items()}),
    ),
    (
        r"bias has shape \(2, 6\), but GRUResetBefore of 3 inputs has \(6,\)",
        keras(SINGLE["gru-reset-before"], *WEIGHTS),
    ),
    (r"bias has shape \(6,\), but GRU of 3 inputs has \(2, 6\)", keras(GRU, KERNEL, RECURRENT, ones(6))),
    (r"kernel has shape \(6, 3\), but GRU of 6 inputs has \(6, 6\)", keras(GRU, KERNEL.T, RECURRENT, BIAS)),
    (
        r"backward\.kernel has shape \(4, 6\), but Bidirectional of 3 inputs has \(3, 6\)",
        keras(BIDIRECTIONAL, *WEIGHTS, ones(4, 6), RECURRENT, BIAS),
    ),
    (r"hn\.bias has shape \(3,\), but GRU of 3 inputs has \(2,\)", linen(hn={**LINEN["hn"], "bias": ones(3)})),
]
DTYPES = [
    (r"bias_ih_l0 must be floating point, got int64", torch(bias_ih_l0=ones(8, dtype="int64"))),
    (r"bias must be floating point, got int8", keras(GRU, KERNEL, RECURRENT, BIAS.astype("int8"))),
    (r"hn\.bias must be floating point, got complex64", linen(hn={**LINEN["hn"], "bias": ones(2, dtype="complex64")})),
    (
        r"weight_hh_l0 is float64, which JAX would round to float32: convert it, or set jax_enable_x64",
        torch(weight_hh_l0=ones(8, 2, dtype="float64")),
    ),
    (
        r"params\.b is float64, which JAX would round to float32: .*",
        lambda: to_keras(LSTM, LSTM_PARAMS._replace(b=ones(8, dtype="float64"))),
    ),
]
LOST = [
    (
        r"params\.layers\.1\.b is not zero, and a layer with bias=False has no place for it",
        lambda: to_torch(
            STACK,
            rnnjax.StackParams((STACK_PARAMS.layers[0]._replace(b=jnp.zeros(8)), STACK_PARAMS.layers[1])),
            bias=False,
        ),
    ),
    (
        r"params\.b_h is not zero, and a layer with use_bias=False has no place for it",
        lambda: to_keras(GRU, GRU_PARAMS._replace(b=jnp.zeros(6)), bias=False),
    ),
    (
        r"params\.b_h is not zero, and nnx\.GRUCell has no place for it",
        lambda: to_flax(GRU, GRU_PARAMS._replace(b_h=jnp.array([jnp.nan, 0.0])), "nnx.GRUCell"),
    ),
]
CELLS = [
    (
        r"PyTorch has no layer like GRUResetBefore, only like Elman, LSTM, ProjectedLSTM, GRU",
        torch(RESET_BEFORE),
    ),
    (r"PyTorch has no layer like Stack, only like .*", torch(rnnjax.Bidirectional(STACK))),
    (r"nn\.RNN has the activation tanh or relu, got 'logistic'", torch(rnnjax.Elman(2, "logistic"))),
    (
        r"PyTorch has only the merge \"concat\" of both directions, got 'sum'",
        torch(rnnjax.Bidirectional(LSTM, merge="sum")),
    ),
    (r"PyTorch has only layers and directions .* got Stack\(.*", torch(rnnjax.Stack((LSTM, rnnjax.LSTM(3))))),
    (r"PyTorch has only layers and directions .* got Stack\(.*", torch(rnnjax.Stack((LSTM, BIDIRECTIONAL)))),
    (r"Keras has no layer like MGU, only like Elman, LSTM, GRU, GRUResetBefore", keras(rnnjax.MGU(2), *WEIGHTS)),
    (r"linen\.GRUCell goes with a single GRU, got LSTM", linen(LSTM)),
    (r"linen\.LSTMCell goes with a single LSTM, got Stack", linen(STACK, "linen.LSTMCell")),
    (r"unknown kind of flax cell 'nnx\.GRU': did you mean .*", linen(kind="nnx.GRU")),
    (r"params must be like LSTM\.init.*", lambda: to_torch(LSTM, GRU_PARAMS)),
]


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [(TypeError, *case) for case in DTYPES] + [(ValueError, *case) for case in NAMES + SHAPES + LOST + CELLS],
)
def test_refusals(error, message, call):
    with pytest.raises(error) as caught:
        call()
    assert re.fullmatch(message, str(caught.value)), str(caught.value)
