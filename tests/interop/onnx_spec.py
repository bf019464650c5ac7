"""RNN, LSTM and GRU as the text of the ONNX standard has them, in plain NumPy loops, and random nodes to try them on.

Written from the operators' documentation (version 22), in its own names, shapes and order of gates. What it leaves
open is as in onnxruntime: the inputs of the gates are clipped and that of h, Ct, is not, and input_forget is f = 1 - i
(as said in the review of the operator, onnx/onnx#149). A sequence of length 0 keeps its initial state.
"""

import numpy as np

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}

# The number of parameters that each takes: alpha, or alpha and beta.
ACTIVATIONS = {
    "Relu": (0, lambda x: np.maximum(0, x)),
    "Tanh": (0, np.tanh),
    "Sigmoid": (0, lambda x: 1 / (1 + np.exp(-x))),
    "Affine": (2, lambda x, alpha, beta: alpha * x + beta),
    "LeakyRelu": (1, lambda x, alpha: np.where(x >= 0, x, alpha * x)),
    "ThresholdedRelu": (1, lambda x, alpha: np.where(x >= alpha, x, 0)),
    "ScaledTanh": (2, lambda x, alpha, beta: alpha * np.tanh(beta * x)),
    "HardSigmoid": (2, lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1)),
    "Elu": (1, lambda x, alpha: np.where(x >= 0, x, alpha * (np.exp(x) - 1))),
    "Softsign": (0, lambda x: x / (1 + np.abs(x))),
    "Softplus": (0, lambda x: np.log(1 + np.exp(x))),
}


def run_node(op, arrays, attributes):
    """Y, Y_h, and Y_c of an LSTM, in float64; `arrays` and `attributes` by their names in the standard."""
    arrays = {name: value if name == "sequence_lens" else np.float64(value) for name, value in arrays.items()}
    x, directions = arrays["X"], len(arrays["W"])
    if attributes.get("layout"):
        x = x.swapaxes(0, 1)
    time, batch, _ = x.shape
    size = arrays["R"].shape[-1]
    lengths = arrays.get("sequence_lens", np.full(batch, time))
    y = np.zeros((time, directions, batch, size))
    finals = np.zeros((2 if op == "LSTM" else 1, directions, batch, size))
    for d, f in enumerate(functions(op, attributes, directions)):
        own = {name: arrays[name][d] for name in ("W", "R", "B", "P") if name in arrays}
        backward = d == 1 or attributes.get("direction") == "reverse"
        for n in range(batch):
            state = [np.zeros(size) for _ in finals]
            for k, name in enumerate(("initial_h", "initial_c")[: len(state)]):
                if name in arrays:
                    state[k] = arrays[name][n, d] if attributes.get("layout") else arrays[name][d, n]
            steps = range(lengths[n])
            for t in reversed(steps) if backward else steps:
                state = STEPS[op](x[t, n], state, own, f, attributes)
                y[t, d, n] = state[0]
            finals[:, d, n] = state
    if attributes.get("layout"):
        return y.transpose(2, 0, 1, 3), *finals.swapaxes(1, 2)
    return y, *finals


def functions(op, attributes, directions):
    """The activations of each direction; alpha and beta are consumed by those that take them, in their order."""
    names = attributes.get("activations", DEFAULTS[op] * directions)
    alphas, betas = (iter(attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta"))

    def take(name):
        count, function = ACTIVATIONS[name]
        parameters = [next(values) for values in (alphas, betas)[:count]]
        return lambda x: function(x, *parameters)

    taken = [take(name) for name in names]
    return np.split(np.array(taken), directions)


def clipped(attributes, x):
    bound = attributes.get("clip", np.inf)
    return np.clip(x, -bound, bound)


def rnn_step(x, state, own, f, attributes):
    (h,) = state
    size = len(h)
    b = own.get("B", np.zeros(2 * size))
    return [f[0](clipped(attributes, x @ own["W"].T + h @ own["R"].T + b[:size] + b[size:]))]


def lstm_step(x, state, own, f, attributes):
    h, c = state
    size = len(h)
    w_i, w_o, w_f, w_c = np.split(own["W"], 4)
    r_i, r_o, r_f, r_c = np.split(own["R"], 4)
    wb_i, wb_o, wb_f, wb_c, rb_i, rb_o, rb_f, rb_c = np.split(own.get("B", np.zeros(8 * size)), 8)
    p_i, p_o, p_f = np.split(own.get("P", np.zeros(3 * size)), 3)
    i = f[0](clipped(attributes, x @ w_i.T + h @ r_i.T + p_i * c + wb_i + rb_i))
    forget = f[0](clipped(attributes, x @ w_f.T + h @ r_f.T + p_f * c + wb_f + rb_f))
    if attributes.get("input_forget"):
        forget = 1 - i
    new = forget * c + i * f[1](clipped(attributes, x @ w_c.T + h @ r_c.T + wb_c + rb_c))
    o = f[0](clipped(attributes, x @ w_o.T + h @ r_o.T + p_o * new + wb_o + rb_o))
    return [o * f[2](new), new]


def gru_step(x, state, own, f, attributes):
    (h,) = state
    size = len(h)
    w_z, w_r, w_h = np.split(own["W"], 3)
    r_z, r_r, r_h = np.split(own["R"], 3)
    wb_z, wb_r, wb_h, rb_z, rb_r, rb_h = np.split(own.get("B", np.zeros(6 * size)), 6)
    z = f[0](clipped(attributes, x @ w_z.T + h @ r_z.T + wb_z + rb_z))
    r = f[0](clipped(attributes, x @ w_r.T + h @ r_r.T + wb_r + rb_r))
    if attributes.get("linear_before_reset"):
        n = f[1](clipped(attributes, x @ w_h.T + r * (h @ r_h.T + rb_h) + wb_h))
    else:
        n = f[1](clipped(attributes, x @ w_h.T + (r * h) @ r_h.T + rb_h + wb_h))
    return [(1 - z) * n + z * h]


STEPS = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}


def draw_node(op, seed, time=5, batch=3, features=2, size=4):
    """The arrays and attributes of a random node, in float32: every optional part is there in about half of them.

    Any 22 seeds in a row have every activation in every place.
    """
    random = np.random.RandomState(seed)

    def coin():
        return random.random_sample() < 0.5

    def normal(*shape):
        return random.normal(scale=0.5, size=shape).astype(np.float32)

    attributes = {"hidden_size": size, "direction": ("forward", "reverse", "bidirectional")[seed % 3]}
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    if seed % 2:
        count, names = len(DEFAULTS[op]), list(ACTIVATIONS)
        # onnxruntime's RNN reads alpha and beta by direction, the standard by activation: the same name is both.
        shift = 0 if op == "RNN" else 3
        attributes["activations"] = [
            names[(seed // 2 + 4 * k + shift * d) % len(names)] for d in range(directions) for k in range(count)
        ]
        for index, name in enumerate(("alpha", "beta")):
            count = sum(ACTIVATIONS[each][0] > index for each in attributes["activations"])
            # Two decimals: a float32 attribute stands for the same number here and there.
            values = [round(float(value), 2) for value in random.uniform(0.05, 0.3, count)]
            attributes |= {f"activation_{name}": values} if values else {}
    if coin():
        attributes["clip"] = 0.5
    if op == "LSTM" and coin():
        attributes["input_forget"] = 1
    if op == "GRU" and coin():
        attributes["linear_before_reset"] = 1
    gates = GATES[op]
    arrays = {
        "X": 2 * normal(time, batch, features),
        "W": normal(directions, gates * size, features),
        "R": normal(directions, gates * size, size),
    }
    optional = {"B": normal(directions, 2 * gates * size)}
    optional["sequence_lens"] = random.randint(1, time + 1, batch).astype(np.int32)
    optional["initial_h"] = normal(directions, batch, size)
    if op == "LSTM":
        optional |= {"initial_c": normal(directions, batch, size), "P": normal(directions, 3 * size)}
    return arrays | {name: value for name, value in optional.items() if coin()}, attributes
