"""Classifiers: one class for a whole sequence, many-to-one."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose import Bidirectional
from rnnjax.compose.base import check_rate, draw_mask, drop
from rnnjax.initializers import Glorot, Initializer, Normal, Zeros
from rnnjax.models.recurrent import Recurrent, dropout_key
from rnnjax.registry import Registry
from rnnjax.scan import real_steps

Pool = Callable[[Array, Array, bool], Array]


def last_state(ys: Array, real: Array, bidirectional: bool) -> Array:
    """The output of every direction's last step: the sequence's last one, and its first one on the way back."""
    ends = jnp.maximum(real.sum(0) - 1, 0)
    last = jnp.take_along_axis(ys, ends[None, :, None], axis=0)[0]
    if not bidirectional:
        return last
    half = ys.shape[-1] // 2
    return jnp.concatenate([last[:, :half], ys[0, :, half:]], axis=-1)


def mean(ys: Array, real: Array, bidirectional: bool) -> Array:
    """The mean over the real steps."""
    return ys.sum(0) / jnp.maximum(real.sum(0), 1)[:, None]


def maximum(ys: Array, real: Array, bidirectional: bool) -> Array:
    """The largest value of every unit over the real steps."""
    highest = jnp.where(real[..., None], ys, -jnp.inf).max(0)
    return jnp.where(real.any(0)[:, None], highest, 0)


POOLINGS: Registry[Pool] = Registry("pooling", {"last": last_state, "mean": mean, "max": maximum})
"""Functions `(ys [time, batch, features], real [time, batch], bidirectional) -> [batch, features]`, for outputs that
are zero where a step is not real; without a real step they give zeros."""


class Classifier(nnx.Module):
    """A recurrent network that reads a sequence and names its class:

        y^0_t = x_t                            features, or E[token_t], a row of the embedding
        y^k_1 ... y^k_T = layer k over y^(k-1)_1 ... y^(k-1)_T
        p(class) = softmax(pool(y^L_1 ... y^L_T) w + b)

    A layer is a cell over time, or if bidirectional one in each direction (`rnnjax.Bidirectional`). `pool` is over the
    real steps alone:

        last    y^L_T; if bidirectional, the state that each direction ends with, [forward y^L_T, backward y^L_1]
        mean    the mean over t
        max     the maximum over t, of every unit by itself

    In training, dropout is of the inputs to every layer and of what is pooled, drawn anew at every step; word dropout
    is of rows of E: the same words in the whole batch.

    The parameters are `embedding`, `layers[k].weights`, `w` and `b`, as `nnx.Param`s.

    Sources: bidirectional: A. Graves, J. Schmidhuber, "Framewise phoneme classification with bidirectional LSTM and
    other neural network architectures", Neural Networks 18, 2005; pooling: A. Conneau et al., "Supervised Learning of
    Universal Sentence Representations from Natural Language Inference Data", 2017 (arXiv:1705.02364), section 3.2.

    Args:
        cells: the layers, the lowest first.
        input_size: features of the inputs, or with an embedding the number of tokens.
        classes: number of classes.
        embedding_size: features of a token; None if the inputs are features.
        bidirectional: whether every layer has a cell in each direction; they are concatenated.
        pooling: of `POOLINGS`.
        dropout, word_dropout: see above.
        embedding_init, output_init: initialisers of E and w; b is zero.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters; `dropout`, if there, is kept for training.

    Raises:
        ValueError: no cell or one without a step, a size or rate out of range, an unknown pooling, word dropout without
            an embedding.
    """

    def __init__(
        self,
        cells: Sequence[Cell[Any, Any]],
        input_size: int,
        classes: int,
        *,
        embedding_size: int | None = None,
        bidirectional: bool = False,
        pooling: str = "last",
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        embedding_init: Initializer = Normal(0.1),
        output_init: Initializer = Glorot(),
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not cells:
            raise ValueError("cells must be one cell or more, got none")
        for cell in cells:
            if not cell.has_step:
                raise ValueError(f"cells must have a step, and {type(cell).__name__} has none: see bidirectional")
        self.input_size = check_size("input_size", input_size)
        self.classes = check_size("classes", classes)
        self.bidirectional = bidirectional
        self.pool = POOLINGS[pooling]
        self.dropout = check_rate("dropout", dropout)
        self.word_dropout = check_rate("word_dropout", word_dropout)
        if word_dropout and embedding_size is None:
            raise ValueError("word_dropout is of rows of an embedding: give embedding_size")

        def draw(init: Initializer, *shape: int) -> nnx.Param[Array]:
            return nnx.Param(init(rngs.params(), shape, dtype))

        size = input_size
        self.embedding = nnx.data(None)
        if embedding_size is not None:
            size = check_size("embedding_size", embedding_size)
            self.embedding = draw(embedding_init, input_size, size)
        self.layers: nnx.List[Recurrent] = nnx.List([])
        for cell in cells:
            layer = Bidirectional(cell) if bidirectional else cell
            self.layers.append(Recurrent(layer, size, dtype=dtype, rngs=rngs))
            size = layer.output_size
        self.w = draw(output_init, size, classes)
        self.b = draw(Zeros(), classes)
        self.rngs = rngs.fork() if self.is_random else nnx.data(None)

    @property
    def is_random(self) -> bool:
        """Whether training draws random numbers."""
        return self.dropout > 0 or self.word_dropout > 0 or any(layer.cell.is_random for layer in self.layers)

    def __call__(
        self,
        inputs: Int[Array, "time batch"] | Float[Array, "time batch features"],
        lengths: Int[ArrayLike, "batch"] | None = None,
        *,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> Float[Array, "batch classes"]:
        """The logits of the classes.

        Args:
            inputs: features, or with an embedding tokens from 0 to input_size - 1.
            lengths: real steps of every sequence, all if not given; what comes after them has no effect.
            deterministic: without dropout. By default as set by `train()` and `eval()`.
            rngs: a random key, or streams with `dropout` among them, in place of the module's own.
        """
        deterministic = self.layers[0].deterministic if deterministic is None else deterministic
        keys: list[Any] = [None] * (2 + 2 * len(self.layers))
        if self.is_random and not deterministic:
            keys = list(jax.random.split(dropout_key(self.rngs if rngs is None else rngs), len(keys)))
        real = self.real(inputs, lengths)
        ys = self.embed(inputs, keys.pop())
        for layer in self.layers:
            key = keys.pop()
            ys = self._drop(ys, keys.pop())
            _, ys = layer(ys, lengths=lengths, deterministic=key is None, rngs=key)
        return self.read(ys, real, keys.pop())

    def real(self, inputs: Array, lengths: Int[ArrayLike, "batch"] | None) -> Bool[Array, "time batch"]:
        """Which steps are real."""
        real = real_steps(inputs.shape[:2], lengths, None)
        return jnp.ones(inputs.shape[:2], bool) if real is None else real

    def embed(self, inputs: Array, key: Array | None = None) -> Float[Array, "time batch features"]:
        """What the first layer reads; with a key, after word dropout."""
        embedding: Any = self.embedding
        if embedding is None:
            return inputs
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise TypeError(f"tokens must be integers, got {inputs.dtype}")
        mask = None if key is None else draw_mask(key, self.word_dropout, (self.input_size,), (1,), False)
        rows: Array = drop(embedding[...], mask, self.word_dropout)
        return rows[inputs]

    def read(
        self, ys: Float[Array, "time batch features"], real: Bool[Array, "time batch"], key: Array | None = None
    ) -> Float[Array, "batch classes"]:
        """The logits, of the outputs of the last layer; with a key, after dropout of what is pooled."""
        pooled = self._drop(self.pool(ys, real, self.bidirectional), key)
        logits: Array = pooled @ self.w[...] + self.b[...]
        return logits

    def _drop(self, xs: Array, key: Array | None) -> Array:
        mask = None if key is None else draw_mask(key, self.dropout, xs.shape[:-1], xs.shape[-1:], False)
        return drop(xs, mask, self.dropout)
