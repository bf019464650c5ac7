"""A language model in PyTorch, as its users write it: nn.Embedding, nn.LSTM and an nn.Linear with the same weights."""

import itertools
from typing import Any

import numpy as np
import torch

from benchmarks.peers.pytorch import place, tensors
from rnnjax.interop import to_torch


class LanguageModel(torch.nn.Module):
    """Embedding, dropout, LSTM layers with dropout between them, dropout, a linear layer tied to the embedding."""

    def __init__(self, vocabulary_size: int, hidden_size: int, layers: int, dropout: float):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary_size, hidden_size)
        between = dropout if layers > 1 else 0.0
        self.lstm = torch.nn.LSTM(hidden_size, hidden_size, layers, dropout=between)
        self.linear = torch.nn.Linear(hidden_size, vocabulary_size)
        self.linear.weight = self.embedding.weight
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor, carry: Any) -> tuple[torch.Tensor, Any]:
        ys, carry = self.lstm(self.dropout(self.embedding(tokens)), carry)
        logits = self.linear(self.dropout(ys))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()), carry


class Trainer:
    """Truncated backpropagation through a text `[time, batch]` with clipped SGD; the weights are those of ours."""

    def __init__(
        self, cell: Any, params: Any, embedding: np.ndarray, b: np.ndarray, dropout: float, text: np.ndarray, bptt: int
    ):
        self.device = place()
        layers = len(params.layers) if hasattr(params, "layers") else 1
        vocabulary_size, hidden_size = embedding.shape
        self.model = LanguageModel(vocabulary_size, hidden_size, layers, dropout)
        self.model.lstm.load_state_dict(tensors(to_torch(cell, params)))
        with torch.no_grad():
            self.model.embedding.weight.copy_(torch.tensor(embedding))
            self.model.linear.bias.copy_(torch.tensor(b))
        self.model.to(self.device)
        self.text, self.bptt = torch.tensor(np.int64(text)).to(self.device), bptt

    def gradients(self) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradients of the first stretch, without dropout."""
        self.model.eval()
        loss, _ = self.model(self.text[: self.bptt], self.text[1 : self.bptt + 1], None)
        named = dict(self.model.named_parameters())
        found = torch.autograd.grad(loss, [*named.values()])
        return float(loss.detach()), {name: leaf.cpu().numpy() for name, leaf in zip(named, found, strict=True)}

    def train(self, steps: int, learning_rate: float, max_norm: float) -> None:
        """Steps with dropout, each on the next stretch, the carry going on."""
        self.model.train()
        optimizer = torch.optim.SGD(self.model.parameters(), learning_rate)
        carry = None
        for start in itertools.islice(itertools.cycle(range(0, len(self.text) - self.bptt, self.bptt)), steps):
            optimizer.zero_grad(set_to_none=True)
            stretch = self.text[start : start + self.bptt + 1]
            loss, carry = self.model(stretch[:-1], stretch[1:], carry)
            carry = tuple(part.detach() for part in carry)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)
            optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
