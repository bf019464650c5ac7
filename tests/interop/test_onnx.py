"""ONNX models, both ways: against the operator tests of the standard, its reference evaluator, and onnxruntime.

What is held against what: the operator tests against everything they cover; the reference evaluator for directions,
layouts, states and peepholes (it ignores clip, sequence_lens, input_forget and most activations); onnxruntime for all
attributes and inputs but layout 1, which it does not run, in float32; and the loops of `onnx_spec`, written from the
text of the standard, for everything, in float64.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.interop import (
    OnnxActivation,
    OnnxGRU,
    OnnxGRUResetBefore,
    OnnxLSTM,
    OnnxRNN,
    from_onnx,
    to_onnx,
)
from tests.interop.onnx_spec import GATES, draw_node, run_node
from tests.support import normal_like, relative_error

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
ReferenceEvaluator = importlib.import_module("onnx.reference").ReferenceEvaluator

pytestmark = pytest.mark.peers

TIME, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
DIRECTIONS = ("forward", "reverse", "bidirectional")
ROLES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")


def make_model(op, arrays, attributes):
    """A model of one node: weights are initialisers, the rest are inputs of the graph."""
    node = onnx.helper.make_node(
        op,
        [role if role in arrays else "" for role in ROLES[: 8 if op == "LSTM" else 6]],
        ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2],
        name="recurrent",
        **attributes,
    )

    def describe(name, array):
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        return onnx.helper.make_tensor_value_info(name, kind, array.shape)

    kind = onnx.helper.np_dtype_to_tensor_dtype(arrays["X"].dtype)
    graph = onnx.helper.make_graph(
        [node],
        "test",
        [describe(name, array) for name, array in arrays.items() if name not in WEIGHTS],
        [onnx.helper.make_tensor_value_info(name, kind, [None] * (4 if name == "Y" else 3)) for name in node.output],
        [onnx.numpy_helper.from_array(arrays[name], name) for name in WEIGHTS if name in arrays],
    )
    return onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 22)])


def call(recurrence, arrays):
    """The outputs for the inputs that a node was drawn with."""
    names = {"sequence_lens": "lengths", "initial_h": "initial_h", "initial_c": "initial_c"}
    given = {ours: arrays[name] for name, ours in names.items() if name in arrays}
    return run(recurrence, arrays["X"], **given)


run = jax.jit(lambda recurrence, xs, **given: recurrence(xs, **given))
unroll = jax.jit(rnnjax.unroll, static_argnames=("cell", "reverse", "batch_major"))


def runtime(model, feed):
    """The outputs of a model by onnxruntime."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in feed.items()})


# --- the operator tests of the standard -------------------------------------------------------------------------------

OPERATOR_TESTS = {
    "RNN": (
        "rnn_seq_length",
        "simple_rnn_batchwise",
        "simple_rnn_bidirectional",
        "simple_rnn_defaults",
        "simple_rnn_reverse",
        "simple_rnn_with_initial_bias",
    ),
    "LSTM": (
        "lstm_batchwise",
        "lstm_bidirectional",
        "lstm_defaults",
        "lstm_reverse",
        "lstm_with_initial_bias",
        "lstm_with_peepholes",
    ),
    "GRU": (
        "gru_batchwise",
        "gru_bidirectional",
        "gru_defaults",
        "gru_reverse",
        "gru_seq_length",
        "gru_with_initial_bias",
    ),
}
"""Those of onnx 1.23; an older version has fewer."""


@functools.cache
def operator_tests():
    """All operator tests of the installed onnx for the three operators, by name.

    Importing a module of them makes them. Those of all operators, which the public function makes, take 15 seconds.
    """
    package = "onnx.backend.test.case.node"
    for op in GATES:
        importlib.import_module(f"{package}.{op.lower()}")
    made = importlib.import_module(package)._NodeTestCases
    return {case.name: case for case in made if case.model.graph.node[0].op_type in GATES}


# In float64 to the tolerance of the tests themselves. Float32 rounds n + z (h - n), the state of a GRU, by up to two
# units in the last place of n where z saturates and the state is 0: that is just above their absolute tolerance.
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-7), ("float32", 2.5e-7)])
@pytest.mark.parametrize("op", GATES)
def test_operator_tests_of_the_standard(op, dtype, atol):
    cases = {name: case for name, case in operator_tests().items() if case.model.graph.node[0].op_type == op}
    known = {f"test_{name}" for name in OPERATOR_TESTS[op]}
    if tuple(map(int, onnx.__version__.split(".")[:2])) >= (1, 23):
        assert cases.keys() >= known
    assert len(cases) >= 4
    for name, case in cases.items():
        (node,) = case.model.graph.node
        for inputs, outputs in case.data_sets:
            arrays = dict(zip([tensor for tensor in node.input if tensor], inputs, strict=True))
            arrays = {
                tensor: array if tensor == "sequence_lens" else array.astype(dtype) for tensor, array in arrays.items()
            }
            xs = arrays.pop("X")
            with jax.enable_x64(dtype == "float64"):
                got = from_onnx(case.model, weights=arrays)(xs)
            assert got[0].dtype == dtype
            named = dict(zip(("Y", "Y_h", "Y_c"), got, strict=False))
            for tensor, want in zip([tensor for tensor in node.output if tensor], outputs, strict=True):
                np.testing.assert_allclose(named[tensor], want, rtol=case.rtol, atol=atol, err_msg=name)


# --- forward, against independent implementations ---------------------------------------------------------------------


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("op", GATES)
def test_reference_evaluator(op, direction, layout):
    seed = next(
        seed
        for seed in range(DIRECTIONS.index(direction), 3000, 3)
        if draw_node(op, seed)[0].keys() >= {*WEIGHTS[: 4 if op == "LSTM" else 3], "initial_h"}
    )
    arrays, _ = draw_node(op, seed)
    arrays.pop("sequence_lens", None)
    if layout:
        for name in ("X", "initial_h", "initial_c"):
            if name in arrays:
                arrays[name] = arrays[name].swapaxes(0, 1)
    attributes = {"hidden_size": HIDDEN, "direction": direction, "layout": layout}
    attributes |= {"linear_before_reset": 1} if op == "GRU" and layout else {}
    model = make_model(op, arrays, attributes)
    want = ReferenceEvaluator(model).run(None, {name: array for name, array in arrays.items() if name not in WEIGHTS})
    got = call(from_onnx(model), arrays)
    for ours, theirs, loop in zip(got, want, run_node(op, arrays, attributes), strict=True):
        assert relative_error(ours, theirs) < 1e-6
        assert relative_error(theirs, loop) < 1e-6


@pytest.mark.parametrize("seed", range(22))
@pytest.mark.parametrize("op", GATES)
def test_onnxruntime_and_the_text_of_the_standard(op, seed):
    """Random nodes with every attribute and optional input; the loop is first held against onnxruntime."""
    arrays, attributes = draw_node(op, seed)
    model = make_model(op, arrays, attributes)
    onnx.checker.check_model(model, full_check=True)
    loop = run_node(op, arrays, attributes)
    theirs = runtime(model, {name: array for name, array in arrays.items() if name not in WEIGHTS})
    for ours, want, other in zip(call(from_onnx(model), arrays), loop, theirs, strict=True):
        assert relative_error(other, want) < 1e-5
        assert relative_error(ours, want) < 1e-5


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op", GATES)
def test_the_text_of_the_standard_in_float64_and_layout_1(op, seed):
    arrays, attributes = draw_node(op, 100 + seed)
    arrays = {name: array if name == "sequence_lens" else np.float64(array) for name, array in arrays.items()}
    for name in arrays.keys() & {"X", "initial_h", "initial_c"}:
        arrays[name] = arrays[name].swapaxes(0, 1)
    if "sequence_lens" in arrays:
        arrays["sequence_lens"][0] = 0  # keeps its initial state; onnxruntime gives zeros
    attributes["layout"] = 1
    got = call(from_onnx(make_model(op, arrays, attributes)), arrays)
    for ours, want in zip(got, run_node(op, arrays, attributes), strict=True):
        assert relative_error(ours, want) < 1e-13


@pytest.mark.filterwarnings("ignore")  # this exporter is deprecated; the new one needs one package more
def test_a_file_of_pytorch(tmp_path):
    """nn.LSTM in both directions, whose exporter leaves the initial states to other nodes of the graph."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    layer = torch.nn.LSTM(INPUTS, HIDDEN, bidirectional=True)
    xs = torch.randn(TIME, BATCH, INPUTS)
    torch.onnx.export(layer, (xs,), tmp_path / "model.onnx", dynamo=False)
    recurrence = from_onnx(tmp_path / "model.onnx")
    assert recurrence.cell == rnnjax.Bidirectional(rnnjax.LSTM(HIDDEN))
    want, (h, c) = layer(xs)
    _, ys = unroll(recurrence.cell, recurrence.params, jnp.asarray(xs.numpy()))
    assert relative_error(ys, want.detach().numpy()) < 1e-6
    _, *finals = recurrence(xs.numpy())
    assert relative_error(finals, [h.detach().numpy(), c.detach().numpy()]) < 1e-6


# --- to ONNX and back -------------------------------------------------------------------------------------------------

ELU = OnnxActivation("Elu", 0.3)
HARD = OnnxActivation("HardSigmoid")
CELLS = {
    "tanh": rnnjax.Elman(HIDDEN),
    "relu": rnnjax.Elman(HIDDEN, "relu"),
    "identity": rnnjax.Elman(HIDDEN, "identity"),
    "logistic": rnnjax.Elman(HIDDEN, "logistic"),
    "lstm": rnnjax.LSTM(HIDDEN),
    "peephole": rnnjax.PeepholeLSTM(HIDDEN),
    "coupled": rnnjax.CoupledLSTM(HIDDEN),
    "gru": rnnjax.GRU(HIDDEN),
    "gru-reset-before": rnnjax.GRUResetBefore(HIDDEN),
    "onnx-rnn": OnnxRNN(HIDDEN, (ELU,), clip=0.6),
    "onnx-lstm": OnnxLSTM(HIDDEN, (HARD, "Softsign", ELU), clip=0.6, peepholes=True),
    "onnx-lstm-coupled": OnnxLSTM(HIDDEN, (HARD, "Tanh", "Tanh"), input_forget=True),
    "onnx-gru": OnnxGRU(HIDDEN, (HARD, "Tanh"), clip=0.6),
    "onnx-gru-reset-before": OnnxGRUResetBefore(HIDDEN, ("Sigmoid", ELU)),
}


def drawn(cell, seed=1, dtype="float32"):
    """Parameters with every weight at random, biases and peepholes too."""
    return normal_like(jax.eval_shape(lambda key: cell.init(key, INPUTS, dtype), jax.random.key(0)), seed, 0.5)


def same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", CELLS)
def test_round_trip_and_onnxruntime(name, direction):
    """What comes back is what went out, exactly, and onnxruntime computes what `unroll` does."""
    cell, reverse = CELLS[name], direction == "reverse"
    cell = rnnjax.Bidirectional(cell) if direction == "bidirectional" else cell
    params = drawn(cell)
    model = to_onnx(cell, params, reverse=reverse, lengths=True, carry=True)
    back = from_onnx(model)
    assert (back.cell, back.reverse, back.batch_major) == (cell, reverse, False)
    same(back.params, params)

    random = np.random.RandomState(2)
    xs = random.normal(size=(TIME, BATCH, INPUTS)).astype(np.float32)
    lengths = np.array([5, 2, 4], np.int32)
    carry = normal_like(cell.initial_carry((BATCH,)), 3)
    each = carry if direction == "bidirectional" else (carry,)
    states = {f"initial_{field}": np.stack([getattr(one, field) for one in each]) for field in each[0]._fields}
    theirs = runtime(model, {"X": xs, "sequence_lens": lengths, **states})
    last, ys = unroll(cell, params, xs, carry, lengths=lengths, reverse=reverse)
    assert relative_error(ys, theirs[0].swapaxes(1, 2).reshape(ys.shape)) < 1e-6
    finals = [np.stack(state) for state in zip(*(last if direction == "bidirectional" else (last,)), strict=True)]
    assert relative_error(finals, theirs[1:]) < 1e-6


def test_two_different_directions_and_two_general_activations():
    cell = rnnjax.Bidirectional(OnnxLSTM(HIDDEN, (HARD, ELU, "Tanh")), OnnxLSTM(HIDDEN, ("Sigmoid", "Tanh", ELU)))
    params = drawn(cell)
    model = to_onnx(cell, params)
    back = from_onnx(model)
    assert back.cell == cell
    same(back.params, params)
    xs = np.random.RandomState(0).normal(size=(TIME, BATCH, INPUTS)).astype(np.float32)
    _, ys = unroll(cell, params, xs)
    assert relative_error(ys, runtime(model, {"X": xs})[0].swapaxes(1, 2).reshape(ys.shape)) < 1e-6


@pytest.mark.parametrize("batch_major", [False, True])
def test_stack(batch_major):
    """A node a layer: all of it by onnxruntime or, batch-major, by the reference evaluator; each layer comes back."""
    cell = rnnjax.Stack(
        (rnnjax.Bidirectional(rnnjax.LSTM(3)), rnnjax.Elman(5), rnnjax.Bidirectional(rnnjax.GRU(HIDDEN)))
    )
    params = drawn(cell)
    model = to_onnx(cell, params, batch_major=batch_major)
    for index, (layer, own) in enumerate(zip(cell.layers, params.layers, strict=True)):
        back = from_onnx(model, f"layer_{index}")
        assert (back.cell, back.batch_major) == (layer, batch_major)
        same(back.params, own)
    xs = np.random.RandomState(0).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)
    xs = xs if batch_major else xs.swapaxes(0, 1)
    last, ys = unroll(cell, params, xs, batch_major=batch_major)
    if batch_major:
        theirs = ReferenceEvaluator(model).run(None, {"X": xs})
    else:
        theirs = runtime(model, {"X": xs})
        theirs[0] = theirs[0].swapaxes(1, 2)
        assert relative_error(np.stack([each.h for each in last.layers[0]]), theirs[1]) < 1e-6
    assert relative_error(ys, theirs[0].reshape(ys.shape)) < 1e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_every_precision_and_a_file(tmp_path, dtype):
    with jax.enable_x64(dtype == "float64"):
        cell = rnnjax.GRU(HIDDEN)
        params = drawn(cell, dtype=dtype)
        onnx.save(to_onnx(cell, params, batch_major=True), tmp_path / "model.onnx")
        back = from_onnx(tmp_path / "model.onnx")
        assert back.batch_major
        same(back.params, params)
        outputs = back(np.ones((BATCH, TIME, INPUTS), dtype))
        assert [y.dtype for y in outputs] == [dtype, dtype]
        assert [y.shape for y in outputs] == [(BATCH, TIME, 1, HIDDEN), (BATCH, 1, HIDDEN)]


def test_what_a_model_holds():
    """Lengths and initial states that are data of the model, as initialisers and as the output of a Constant node."""
    arrays, attributes = next(
        drawn for seed in range(999) if (drawn := draw_node("LSTM", seed))[0].keys() >= set(ROLES) - {"P"}
    )
    model = make_model("LSTM", arrays, attributes)
    for name in ("sequence_lens", "initial_h"):
        model.graph.initializer.append(onnx.numpy_helper.from_array(arrays[name], name))
    constant = onnx.helper.make_node(
        "Constant", [], ["initial_c"], value=onnx.numpy_helper.from_array(arrays["initial_c"])
    )
    model.graph.node.insert(0, constant)
    recurrence = from_onnx(model)
    for got in (recurrence(arrays["X"]), run(recurrence, arrays["X"])):
        for ours, want in zip(got, run_node("LSTM", arrays, attributes), strict=True):
            assert relative_error(ours, want) < 1e-6


def test_alpha_and_beta_are_consumed_in_order():
    def read(**attributes):
        return from_onnx(make_model(*draw("LSTM"), attributes | {"activations": names})).cell.activations

    names = ["Sigmoid", "leakyrelu", "HardSigmoid"]
    defaults = OnnxActivation("Sigmoid"), OnnxActivation("LeakyRelu", 0.01), OnnxActivation("HardSigmoid", 0.2, 0.5)
    assert read() == defaults
    given = OnnxActivation("Sigmoid"), OnnxActivation("LeakyRelu", 0.1), OnnxActivation("HardSigmoid", 0.3, 0.4)
    assert read(activation_alpha=[0.1, 0.3], activation_beta=[0.4]) == given
    assert read(activation_alpha=[0.1]) == (defaults[0], given[1], defaults[2])
    with pytest.raises(ValueError, match="activation_alpha of LSTM node 'recurrent' has 3 values, but 2"):
        read(activation_alpha=[0.0, 0.1, 0.3])
    # One value for every activation, where both readings agree.
    names = ["HardSigmoid", "Tanh", "Tanh"]
    assert read(activation_alpha=[0.3, 0.0, 0.0])[0] == OnnxActivation("HardSigmoid", 0.3, 0.5)


# --- what is refused --------------------------------------------------------------------------------------------------


def draw(op):
    """A node with its weights alone, which tests break."""
    arrays, _ = draw_node(op, 0)
    return op, {name: arrays[name] for name in ("X", "W", "R")}


def with_weight(op, **changed):
    op, arrays = draw(op)
    return make_model(op, arrays | {name: np.asarray(array, np.float32) for name, array in changed.items()}, {})


@pytest.mark.parametrize(
    ("op", "changed", "message"),
    [
        (
            "LSTM",
            {"W": np.zeros((1, 15, 2))},
            r"weight W of LSTM node 'recurrent' has shape \(1, 15, 2\), expected \(1, 16, 2\)",
        ),
        ("LSTM", {"R": np.zeros((1, 12, 4))}, r"weight R of .* has shape \(1, 12, 4\), expected \(1, 16, 4\)"),
        ("GRU", {"B": np.zeros((1, 12))}, r"weight B of .* has shape \(1, 12\), expected \(1, 24\) for hidden_size 4"),
        (
            "LSTM",
            {"B": np.zeros((1, 32)), "P": np.zeros((1, 16))},
            r"weight P of .* has shape \(1, 16\), expected \(1, 12\)",
        ),
        ("RNN", {"W": np.zeros((2, 4, 2))}, r"weight W of RNN node .* has shape \(2, 4, 2\), expected \(1, 4, 2\)"),
        ("RNN", {"R": np.zeros(())}, r"weight R of RNN node .* has shape \(\), expected"),
    ],
)
def test_misshapen_weights(op, changed, message):
    with pytest.raises(ValueError, match=message):
        from_onnx(with_weight(op, **changed))


def test_missing_and_extra_weights():
    op, arrays = draw("GRU")
    for name in ("W", "R"):
        model = make_model(op, arrays, {})
        del model.graph.initializer[("W", "R").index(name)]
        with pytest.raises(
            ValueError, match=f"weight {name} of GRU node 'recurrent' is missing: '{name}' is not in the model"
        ):
            from_onnx(model)
        assert from_onnx(model, weights={name: arrays[name]}).cell == rnnjax.GRUResetBefore(HIDDEN)
        (node,) = model.graph.node
        node.input[("X", "W", "R").index(name)] = ""
        with pytest.raises(ValueError, match=f"weight {name} of .* is missing: the node has no such input"):
            from_onnx(model)
    with pytest.raises(ValueError, match="weights has Q, but GRU node 'recurrent' reads W, R"):
        from_onnx(make_model(op, arrays, {}), weights={"Q": arrays["W"]})
    with pytest.raises(ValueError, match="weights has X, but"):
        from_onnx(make_model(op, arrays, {}), weights={"X": arrays["X"]})
    model = make_model(op, arrays, {})
    model.graph.node[0].input.extend(["initial_c", "P"])
    with pytest.raises(ValueError, match="GRU node 'recurrent' has 8 inputs, but the operator has X, W, R, B"):
        from_onnx(model)


def test_weights_of_another_precision():
    op, arrays = draw("RNN")
    with pytest.raises(ValueError, match=r"weight R of .* is float64, which JAX would round to float32"):
        from_onnx(make_model(op, {name: np.float64(array) for name, array in arrays.items()}, {}))
    with pytest.raises(
        ValueError, match=r"weight W of .* is float16, expected floating point of one kind, as R, float32"
    ):
        from_onnx(make_model(op, arrays | {"W": arrays["W"].astype(np.float16)}, {}))
    with pytest.raises(ValueError, match=r"weight W of .* is int8, expected floating point"):
        from_onnx(make_model(op, arrays | {"W": arrays["W"].astype(np.int8)}, {}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activations": ["Sigmoid", "Tahn"]}, "unknown ONNX activation 'Tahn': did you mean 'Tanh'"),
        ({"activations": ["Tanh"]}, "GRU node 'recurrent' has 1 activations, expected 2"),
        ({"activations": ["Sigmoid", "Affine"]}, "ONNX activation Affine needs alpha"),
        ({"direction": "backward"}, "has direction 'backward', expected one of forward, reverse, bidirectional"),
        ({"direction": "bidirectional"}, r"weight R of .* has shape \(1, 12, 4\), expected \(2, 12, 4\)"),
        ({"layout": 2}, "has layout 2, expected one of 0, 1"),
        ({"clip": -1.0}, "clip must be above 0"),
        ({"hidden_size": 5}, r"weight R of .* expected \(1, 15, 5\) for hidden_size 5"),
        ({"input_forget": 1}, "has the attribute 'input_forget', but the operator has hidden_size, direction"),
    ],
)
def test_attributes_that_are_not_of_the_standard(attributes, message):
    with pytest.raises((ValueError, LookupError), match=message):
        from_onnx(make_model(*draw("GRU"), attributes))


def test_which_node():
    cell = rnnjax.Stack((rnnjax.LSTM(3), rnnjax.GRU(2)))
    model = to_onnx(cell, drawn(cell))
    with pytest.raises(ValueError, match=r"has 2 recurrent nodes, name one: 'layer_0' \(LSTM\), 'layer_1' \(GRU\)"):
        from_onnx(model)
    with pytest.raises(ValueError, match="has no recurrent nodes 'layer_2'; it has 'layer_0'"):
        from_onnx(model, "layer_2")
    for node in model.graph.node:
        node.name = ""
    assert from_onnx(model, "Y_0").cell == rnnjax.LSTM(3)
    del model.graph.node[0], model.graph.node[-1]
    with pytest.raises(ValueError, match="no RNN, LSTM or GRU node, only Reshape, Transpose"):
        from_onnx(model)
    with pytest.raises(TypeError, match="model must be an onnx ModelProto"):
        from_onnx({"W": 1})


def test_a_node_by_itself_and_weights_in_another_file(tmp_path):
    op, arrays = draw("RNN")
    model = make_model(op, arrays, {})
    held = {name: arrays[name] for name in ("W", "R")}
    assert from_onnx(model.graph.node[0], weights=held).cell == rnnjax.Elman(HIDDEN)
    assert from_onnx(model.graph).cell == rnnjax.Elman(HIDDEN)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(ValueError, match="W of RNN node 'recurrent' is kept in another file"):
        from_onnx(path)
    assert from_onnx(onnx.load(path)).cell == rnnjax.Elman(HIDDEN)


def test_inputs_that_do_not_fit():
    op, arrays = draw("GRU")
    recurrence, xs = from_onnx(make_model(op, arrays, {})), arrays["X"]
    with pytest.raises(ValueError, match=r"xs must be \[time, batch, features\], got shape \(5, 2\)"):
        recurrence(xs[:, 0])
    with pytest.raises(ValueError, match=r"initial_h has shape \(3, 4\), expected \(1, 3, 4\)"):
        recurrence(xs, initial_h=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="initial_c is for an LSTM, but the node is of GRUResetBefore"):
        recurrence(xs, initial_c=np.zeros((1, 3, 4)))
    with pytest.raises(ValueError, match="lengths must be from 0 to 5"):
        recurrence(xs, lengths=[5, 6, 1])


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (rnnjax.MGU(3), {}, "no ONNX node computes MGU: there are nodes for Elman, OnnxRNN, LSTM"),
        (rnnjax.Residual(rnnjax.LSTM(INPUTS)), {}, "no ONNX node computes Residual"),
        (rnnjax.Elman(3, jnp.sin), {}, "no ONNX node has the activation .* of Elman"),
        (
            rnnjax.Bidirectional(rnnjax.LSTM(3), merge="sum"),
            {},
            "no ONNX node computes a Bidirectional with merge 'sum'",
        ),
        (rnnjax.Bidirectional(rnnjax.LSTM(3)), {"reverse": True}, "no ONNX node computes a Bidirectional in reverse"),
        (
            rnnjax.Bidirectional(rnnjax.LSTM(3), rnnjax.GRU(3)),
            {},
            r"the directions of one ONNX node .* got LSTM\(.* and GRU\(",
        ),
        (rnnjax.Bidirectional(rnnjax.GRU(3), rnnjax.GRU(4)), {}, "the directions of one ONNX node"),
        (rnnjax.Bidirectional(OnnxRNN(3, clip=1.0), OnnxRNN(3)), {}, "the directions of one ONNX node"),
    ],
)
def test_cells_that_no_node_computes(cell, options, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(cell, drawn(cell), **options)


def test_parameters_of_another_cell():
    with pytest.raises(ValueError, match="params"):
        to_onnx(rnnjax.LSTM(3), drawn(rnnjax.GRU(3)))
