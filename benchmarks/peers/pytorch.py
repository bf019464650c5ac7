"""PyTorch: gradient norms as its users get them, from an unrolled cell with `retain_grad` at every step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

CELLS: dict[str, Callable[[int, int], torch.nn.RNNCellBase]] = {
    "rnn": torch.nn.RNNCell,
    "lstm": torch.nn.LSTMCell,
    "gru": torch.nn.GRUCell,
}


def make_cell(name: str, params: Any) -> torch.nn.RNNCellBase:
    """The PyTorch cell with the weights of ours, for a name in `CELLS`."""
    w_x, w_h, b = (np.asarray(leaf) for leaf in (params.w_x, params.w_h, params.b))
    cell = CELLS[name](w_x.shape[0], w_h.shape[0])
    recurrent_bias = np.zeros_like(b)
    if name == "gru":
        recurrent_bias[-w_h.shape[0] :] = np.asarray(params.b_h)
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": recurrent_bias}
    cell.load_state_dict({key: torch.tensor(np.ascontiguousarray(value)) for key, value in weights.items()})
    return cell.to(torch.tensor(w_x).dtype)


def gradient_norms(cell: torch.nn.RNNCellBase, xs: torch.Tensor) -> dict[str, torch.Tensor]:
    """||dL/dcarry_t|| for t = 0 ... time, `[time + 1, batch]`, of the sum of the squares of the last output."""
    size = (xs.shape[1], cell.hidden_size)
    is_lstm = isinstance(cell, torch.nn.LSTMCell)
    states = [[torch.zeros(size, dtype=xs.dtype, requires_grad=True) for _ in range(1 + is_lstm)]]
    for x in xs:
        state = list(cell(x, tuple(states[-1]))) if is_lstm else [cell(x, states[-1][0])]
        for part in state:
            part.retain_grad()
        states.append(state)
    states[-1][0].square().sum().backward()
    parts = zip(*states, strict=True)
    return {
        name: torch.stack([torch.zeros(size) if part.grad is None else part.grad for part in over_time])
        .double()
        .norm(dim=-1)
        for name, over_time in zip(("h", "c"), parts, strict=False)
    }


def make_runner(name: str, params: list[Any], xs: np.ndarray) -> Callable[[int], list[dict[str, torch.Tensor]]]:
    """A function of the number of threads that measures every seed: `params` a list, `xs` `[seeds, time, ...]`."""
    cells, inputs = [make_cell(name, each) for each in params], torch.tensor(xs)

    def run(threads: int) -> list[dict[str, torch.Tensor]]:
        torch.set_num_threads(threads)
        return [gradient_norms(cell, x) for cell, x in zip(cells, inputs, strict=True)]

    return run
