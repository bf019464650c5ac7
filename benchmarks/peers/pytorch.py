"""PyTorch: its layers, which run oneDNN or its own kernels on a CPU and cuDNN on a GPU; and gradient norms as its users
get them, from an unrolled cell with `retain_grad` at every step.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from benchmarks.devices import cores
from benchmarks.peers.program import Program, Results, Routine, Unsupported, cell_of, clock, compared
from rnnjax.interop import from_torch, to_torch


class Kind(NamedTuple):
    """What PyTorch has for one of our cells."""

    cell: Callable[[int, int], torch.nn.RNNCellBase]
    layer: Callable[[int, int], torch.nn.RNNBase]


PACKAGE = "torch"
CELLS: dict[str, Kind] = {
    "rnn": Kind(torch.nn.RNNCell, torch.nn.RNN),
    "lstm": Kind(torch.nn.LSTMCell, torch.nn.LSTM),
    "gru": Kind(torch.nn.GRUCell, torch.nn.GRU),
}
LACKS: dict[str, str] = {}


def make(name: str, params: Any, xs: np.ndarray) -> Program:
    device = place()
    cell = cell_of(name, params)
    layer = CELLS[name].layer(params.w_x.shape[0], params.w_h.shape[0])
    layer.load_state_dict(tensors(to_torch(cell, params)))
    layer.to(device, getattr(torch, xs.dtype.name))
    inputs = torch.tensor(np.float32(xs)).to(device, getattr(torch, xs.dtype.name)).requires_grad_()
    weights = dict(layer.named_parameters())

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            ys: torch.Tensor = layer(inputs)[0]
        return ys

    def step() -> tuple[torch.Tensor, ...]:
        loss = layer(inputs)[0].float().square().mean()
        return torch.autograd.grad(loss, [*weights.values(), inputs])

    def read(ys: torch.Tensor, gradients: tuple[torch.Tensor, ...]) -> Results:
        outputs, *found, g_xs = (tensor.float().cpu().numpy() for tensor in (ys, *gradients))
        ours = from_torch(cell, dict(zip(weights, found, strict=True)))
        return Results(outputs, compared(name, ours), g_xs)

    def measured(work: Callable[[], Any]) -> Routine:
        return routine(work, device)._replace(memory_bytes=peak_bytes(work, device))

    return Program(measured(forward), measured(step), read)


def routine(work: Callable[[], Any], device: str) -> Routine:
    """Runs the work on one thread or on all cores, whichever is faster in three tries each, in turn.

    All cores are not always: small layers have nothing to share out, and where something else runs too, every product
    waits for the thread that is held up.
    """

    def on(threads: int) -> Routine:
        def call() -> Any:
            torch.set_num_threads(threads)
            result = work()
            if device == "cuda":
                torch.cuda.synchronize()
            return result

        return Routine(call, threads=threads)

    candidates = [on(threads) for threads in sorted({1, cores()})]
    tries = [[clock(candidate) for candidate in candidates] for _ in range(4)]
    medians = [statistics.median(seconds) for seconds in zip(*tries[1:], strict=True)]  # the first one warms up
    return candidates[medians.index(min(medians))]


def peak_bytes(work: Callable[[], Any], device: str) -> int:
    """The most memory that the work holds at once, beside what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before
    with silent_stderr(), torch.autograd.profiler.profile(profile_memory=True) as profiled:
        result = work()  # held to the end, as its memory is part of it
    events = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    del result
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]  # negative: given back
    return int(max(np.cumsum(sizes), default=0))


@contextmanager
def silent_stderr() -> Iterator[None]:
    """PyTorch's profiler writes there that it begins and ends, past Python and whatever its settings."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def place() -> str:
    """PyTorch's name of the kind of device that JAX runs on."""
    platform = jax.default_backend()
    if platform == "gpu" and not torch.cuda.is_available():
        raise Unsupported("this PyTorch has no CUDA")
    if platform not in ("cpu", "gpu"):
        raise Unsupported(f"does not run on a {platform.upper()} here")
    return "cuda" if platform == "gpu" else "cpu"


def tensors(weights: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A state dict; bfloat16, which PyTorch does not take from NumPy, as float32."""
    return {
        name: torch.tensor(array if array.dtype in (np.float32, np.float64) else np.float32(array))
        for name, array in weights.items()
    }


# --- gradient norms ---------------------------------------------------------------------------------------------------


def make_cell(name: str, params: Any) -> torch.nn.RNNCellBase:
    """The PyTorch cell with the weights of ours, for a name in `CELLS`."""
    weights = to_torch(cell_of(name, params), params)
    cell = CELLS[name].cell(params.w_x.shape[0], params.w_h.shape[0])
    cell.load_state_dict(tensors({key.removesuffix("_l0"): array for key, array in weights.items()}))
    return cell.to(tensors(weights)["bias_ih_l0"].dtype)


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
