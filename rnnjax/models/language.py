"""Language models: what comes next in a text, given what came before."""

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.checks import check_size
from rnnjax.compose import Dropout, Stack, WeightDrop
from rnnjax.compose.base import check_rate, draw_mask, drop
from rnnjax.initializers import Glorot, Initializer, Normal, Uniform, Zeros
from rnnjax.models.cross_entropy import softmax_cross_entropy
from rnnjax.models.recurrent import Recurrent, dropout_key
from rnnjax.registry import Registry


class LanguageLoss(NamedTuple):
    """What a language model is trained on: the sum of the two."""

    cross_entropy: Float[Array, ""]
    """-ln p(target), the mean over real tokens, in nats."""
    penalty: Float[Array, ""]
    """The activation penalties."""


class LanguageModel(nnx.Module):
    """A recurrent network that predicts the next token:

        x_t = E[token_t]                     a row of the embedding, or a one-hot vector
        carry_t, y_t = step(cell, carry_(t-1), x_t)
        p(token_(t+1)) = softmax(y_t w + b)  with w the transpose of E if tied

    Depth, and dropout of inputs, between layers and of recurrent weights, is the cell's: any cell, any composition with
    a step. The model's own regularisers, all off by default, are those that reach beyond the cell:

        word dropout          rows of E are zero, and others E / (1 - rate): the same words in the whole batch
        output dropout        of y_t: anew at every step, or if variational once a sequence
        activation penalty    rate * mean(y_t^2), of the dropped outputs (AR)
        slowness penalty      rate * mean((y_t - y_(t-1))^2), of the outputs as they are (TAR)

    The parameters are `embedding`, `recurrent.weights`, `w` and `b`, as `nnx.Param`s.

    Sources: tied weights: O. Press, L. Wolf, "Using the Output Embedding to Improve Language Models", 2016
    (arXiv:1608.05859); the regularisers: S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language
    Models", 2017 (arXiv:1708.02182), section 4.

    Args:
        cell: the recurrent network.
        vocabulary_size: number of tokens.
        embedding_size: features of a token; None for one-hot vectors.
        tied: whether embedding and output weights are one array: `embedding_size` must be the cell's output size.
        word_dropout, output_dropout, variational, activation_penalty, slowness_penalty: see above.
        embedding_init, output_init, bias_init: initialisers of E, w and b.
        dtype: that of the parameters.
        rngs: the stream `params` draws the parameters; `dropout`, if there, is kept for training.

    Raises:
        ValueError: a size or rate out of range, tied weights of other sizes, a cell without a step.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        vocabulary_size: int,
        *,
        embedding_size: int | None = None,
        tied: bool = False,
        word_dropout: float = 0.0,
        output_dropout: float = 0.0,
        variational: bool = False,
        activation_penalty: float = 0.0,
        slowness_penalty: float = 0.0,
        embedding_init: Initializer = Normal(0.01),
        output_init: Initializer = Glorot(),
        bias_init: Initializer = Zeros(),
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.vocabulary_size = check_size("vocabulary_size", vocabulary_size)
        if embedding_size is not None:
            embedding_size = check_size("embedding_size", embedding_size)
        if tied and embedding_size != cell.output_size:
            raise ValueError(
                f"tied weights need an embedding of the cell's output size, {cell.output_size}, got {embedding_size}"
            )
        if not cell.has_step:
            raise ValueError(f"a language model needs a cell with a step, and {type(cell).__name__} has none")
        self.word_dropout = check_rate("word_dropout", word_dropout)
        if word_dropout and embedding_size is None:
            raise ValueError("word_dropout is of rows of an embedding: give embedding_size")
        self.output_dropout = check_rate("output_dropout", output_dropout)
        self.variational = variational
        self.activation_penalty = activation_penalty
        self.slowness_penalty = slowness_penalty

        def draw(init: Initializer, *shape: int) -> nnx.Param[Array]:
            return nnx.Param(init(rngs.params(), shape, dtype))

        input_size = vocabulary_size if embedding_size is None else embedding_size
        self.embedding = nnx.data(
            None if embedding_size is None else draw(embedding_init, vocabulary_size, embedding_size)
        )
        self.recurrent = Recurrent(cell, input_size, dtype=dtype, rngs=rngs)
        self.w = nnx.data(None if tied else draw(output_init, cell.output_size, vocabulary_size))
        self.b = draw(bias_init, vocabulary_size)

    @property
    def cell(self) -> Cell[Any, Any]:
        """The recurrent network."""
        return self.recurrent.cell

    @property
    def is_random(self) -> bool:
        """Whether training draws random numbers."""
        return self.cell.is_random or self.word_dropout > 0 or self.output_dropout > 0

    def initial_carry(self, batch_size: int) -> Any:
        """The carry that a text starts from."""
        return self.recurrent.start((batch_size,))

    def __call__(
        self,
        tokens: Int[Array, "time batch"],
        carry: Any = None,
        *,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[Any, Float[Array, "time batch vocabulary"]]:
        """The final carry, and the logits of the token after each.

        Args:
            tokens: from 0 to vocabulary_size - 1.
            carry: of the text before, from an earlier call; None at its beginning.
            deterministic: without dropout. By default as set by `train()` and `eval()`.
            rngs: a random key, or streams with `dropout` among them, in place of the module's own.
        """
        carry, ys, _ = self._outputs(tokens, carry, None, deterministic, rngs)
        w, b = self.readout()
        return carry, ys @ w + b

    def loss(
        self,
        tokens: Int[Array, "time batch"],
        targets: Int[Array, "time batch"],
        carry: Any = None,
        *,
        lengths: Int[Array, "batch"] | None = None,
        deterministic: bool | None = None,
        rngs: Any = None,
        chunk: int | None = None,
    ) -> tuple[Any, LanguageLoss]:
        """The final carry, and the loss on the tokens that come next, without making `[time, batch, vocabulary]`.

        `targets` are these tokens, `lengths` the real steps of every sequence (all if not given; the carry is that
        after the last one), `chunk` is that of `softmax_cross_entropy`, and the rest as for a call.
        """
        carry, ys, raw = self._outputs(tokens, carry, lengths, deterministic, rngs)
        real = jnp.arange(len(tokens))[:, None] < (len(tokens) if lengths is None else jnp.asarray(lengths))
        weights = jnp.broadcast_to(real, tokens.shape).astype(jnp.float32)
        weights = weights / jnp.maximum(weights.sum(), 1)
        w, b = self.readout()
        penalty = jnp.zeros(())
        if self.activation_penalty:
            penalty += self.activation_penalty * (weights * jnp.square(ys).mean(-1)).sum()
        if self.slowness_penalty:
            between = weights[1:] / jnp.maximum(weights[1:].sum(), jnp.finfo(jnp.float32).tiny)
            penalty += self.slowness_penalty * (between * jnp.square(raw[1:] - raw[:-1]).mean(-1)).sum()
        return carry, LanguageLoss(softmax_cross_entropy(ys, w, b, targets, weights, chunk=chunk), penalty)

    def readout(self) -> tuple[Float[Array, "features vocabulary"], Float[Array, "vocabulary"]]:
        """The weights and the bias that make logits."""
        tied: Any = self.embedding
        return (tied[...].T if self.w is None else self.w[...]), self.b[...]

    def _outputs(
        self, tokens: Array, carry: Any, lengths: Any, deterministic: bool | None, rngs: Any
    ) -> tuple[Any, Array, Array]:
        """The carry, and the outputs after and before their dropout."""
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise TypeError(f"tokens must be integers, got {tokens.dtype}")
        deterministic = self.recurrent.deterministic if deterministic is None else deterministic
        draws = self.is_random and not deterministic
        keys: Any = (None,) * 3
        if draws:
            keys = jax.random.split(dropout_key(self.recurrent.rngs if rngs is None else rngs), 3)
        if self.embedding is None:
            xs = jax.nn.one_hot(tokens, self.vocabulary_size, dtype=self.b.dtype)
        else:
            mask = draw_mask(keys[0], self.word_dropout, (self.vocabulary_size,), (1,), False) if draws else None
            xs = drop(self.embedding[...], mask, self.word_dropout)[tokens]
        carry, raw = self.recurrent(xs, carry, lengths=lengths, deterministic=not draws, rngs=keys[1])
        rate = self.output_dropout
        mask = draw_mask(keys[2], rate, raw.shape[:-1], raw.shape[-1:], self.variational) if draws else None
        return carry, drop(raw, mask, rate), raw


# --- published models -------------------------------------------------------------------------------------------------


class Regularisers(TypedDict, total=False):
    """Options of every model here but AWD-LSTM, which has its own of them by default: those are all off."""

    variational: bool
    """One mask a sequence, of all dropout but that of words and weights."""
    input_dropout: float
    """Of what the first layer reads."""
    between_dropout: float
    """Between layers."""
    word_dropout: float
    weight_drop: float
    """Of the recurrent weights (`WeightDrop`)."""
    activation_penalty: float
    slowness_penalty: float


def char_rnn(
    vocabulary_size: int,
    *,
    cell: str = "lstm",
    hidden_size: int = 128,
    layers: int = 2,
    embedding_size: int | None = None,
    dropout: float = 0.0,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
    **regularisers: Unpack[Regularisers],
) -> LanguageModel:
    """The character model of char-rnn: one-hot characters, stacked LSTMs, weights and biases as PyTorch draws them.

    65 symbols make 239,297 parameters, or 240,321 as char-rnn counts, whose LSTMs have two biases that are added.

    Source: A. Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015, and its code, char-rnn.
    """
    uniform = Uniform()
    cells = [
        _make_cell(cell, hidden_size, input_init=uniform, recurrent_init=uniform, bias_init=uniform, forget_bias=1.0)
    ] * layers
    init = Uniform(1 / math.sqrt(hidden_size))
    settings: dict[str, Any] = {"between_dropout": dropout} | dict(regularisers)
    return _regularised(
        cells,
        vocabulary_size,
        embedding_size=embedding_size,
        output_dropout=dropout,
        output_init=init,
        bias_init=init,
        dtype=dtype,
        rngs=rngs,
        **settings,
    )


def rnnlm(
    vocabulary_size: int,
    *,
    cell: str = "lstm",
    hidden_size: int = 100,
    layers: int = 1,
    dropout: float = 0.0,
    tied: bool = False,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
    **regularisers: Unpack[Regularisers],
) -> LanguageModel:
    """Rnnlm: Embed-LSTM-Affine, 2,090,400 parameters for 10,000 words.

    Embedding N(0, 1) / 100, weights N(0, 1) / sqrt(inputs), no biases at first. Dropout, where there is any, is of the
    inputs and of the outputs of every layer.

    Source: K. Saito, "Deep Learning from Scratch 2", 2018, chapter 6.
    """
    weights = Normal()
    cells = [
        _make_cell(cell, hidden_size, input_init=weights, recurrent_init=weights, bias_init=Zeros(), forget_bias=0.0)
    ] * layers
    settings: dict[str, Any] = {"input_dropout": dropout, "between_dropout": dropout} | dict(regularisers)
    return _regularised(
        cells,
        vocabulary_size,
        embedding_size=hidden_size,
        tied=tied,
        output_dropout=dropout,
        output_init=weights,
        dtype=dtype,
        rngs=rngs,
        **settings,
    )


better_rnnlm = partial(rnnlm, hidden_size=650, layers=2, dropout=0.5, tied=True)
"""BetterRnnlm: Embed-Drop-LSTM-Drop-LSTM-Drop-Affine with tied weights, 13,275,200 parameters for 10,000 words.

Dropout is drawn anew at every step, or with `variational` once a sequence. Source: as `rnnlm`."""


def zaremba(
    vocabulary_size: int,
    *,
    cell: str = "lstm",
    hidden_size: int,
    layers: int = 2,
    dropout: float,
    bound: float,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
    **regularisers: Unpack[Regularisers],
) -> LanguageModel:
    """Embedding, stacked LSTMs, softmax, with dropout of all but what goes through time; all weights U[-bound, bound].

    Source: W. Zaremba, I. Sutskever, O. Vinyals, "Recurrent Neural Network Regularization", 2014 (arXiv:1409.2329).
    """
    uniform = Uniform(bound)
    cells = [
        _make_cell(cell, hidden_size, input_init=uniform, recurrent_init=uniform, bias_init=uniform, forget_bias=0.0)
    ] * layers
    settings: dict[str, Any] = {"input_dropout": dropout, "between_dropout": dropout} | dict(regularisers)
    return _regularised(
        cells,
        vocabulary_size,
        embedding_size=hidden_size,
        output_dropout=dropout,
        embedding_init=uniform,
        output_init=uniform,
        bias_init=uniform,
        dtype=dtype,
        rngs=rngs,
        **settings,
    )


zaremba_small = partial(zaremba, hidden_size=200, dropout=0.0, bound=0.1)
zaremba_medium = partial(zaremba, hidden_size=650, dropout=0.5, bound=0.05)
zaremba_large = partial(zaremba, hidden_size=1500, dropout=0.65, bound=0.04)


def awd_lstm(
    vocabulary_size: int,
    *,
    cell: str = "lstm",
    hidden_size: int = 1150,
    layers: int = 3,
    embedding_size: int = 400,
    dropout: float = 0.4,
    between_dropout: float = 0.25,
    input_dropout: float = 0.4,
    word_dropout: float = 0.1,
    weight_drop: float = 0.5,
    activation_penalty: float = 2.0,
    slowness_penalty: float = 1.0,
    dtype: Any = jnp.float32,
    rngs: nnx.Rngs,
) -> LanguageModel:
    """AWD-LSTM: weight-dropped LSTMs with variational dropout everywhere, tied weights and activation penalties.

    The last layer has the size of the embedding. 24,210,800 parameters for 10,000 words, or 24,221,600 as its authors
    count, whose LSTMs have two biases that are added.

    Source: S. Merity, N. S. Keskar, R. Socher, "Regularizing and Optimizing LSTM Language Models", 2017
    (arXiv:1708.02182), and its code.
    """
    sizes = [hidden_size] * (layers - 1) + [embedding_size]
    weights = Uniform()
    cells = [
        _make_cell(cell, size, input_init=weights, recurrent_init=weights, bias_init=weights, forget_bias=0.0)
        for size in sizes
    ]
    return _regularised(
        cells,
        vocabulary_size,
        between_dropout=between_dropout,
        input_dropout=input_dropout,
        weight_drop=weight_drop,
        embedding_size=embedding_size,
        tied=True,
        word_dropout=word_dropout,
        output_dropout=dropout,
        variational=True,
        activation_penalty=activation_penalty,
        slowness_penalty=slowness_penalty,
        embedding_init=Uniform(0.1),
        dtype=dtype,
        rngs=rngs,
    )


LANGUAGE_MODELS: Registry[Callable[..., LanguageModel]] = Registry(
    "language model",
    {
        "char": char_rnn,
        "rnnlm": rnnlm,
        "better-rnnlm": better_rnnlm,
        "zaremba-small": zaremba_small,
        "zaremba-medium": zaremba_medium,
        "zaremba-large": zaremba_large,
        "awd": awd_lstm,
    },
)
"""Functions `(vocabulary_size, *, rngs, **settings) -> LanguageModel`; all take `cell`, `hidden_size`, `layers`,
`dropout` and `Regularisers`, but `awd`, which is always variational, no `variational`."""


def _regularised(
    cells: Sequence[Cell[Any, Any]],
    vocabulary_size: int,
    *,
    between_dropout: float,
    input_dropout: float = 0.0,
    weight_drop: float = 0.0,
    variational: bool = False,
    **settings: Any,
) -> LanguageModel:
    """The model of a stack of cells, with the regularisers that are the cells' own; the others are among `settings`."""
    cells = [WeightDrop(cell, weight_drop) if weight_drop else cell for cell in cells]
    stack = _stack(cells, between_dropout, input_rate=input_dropout, variational=variational)
    return LanguageModel(stack, vocabulary_size, variational=variational, **settings)


def _make_cell(name: str, hidden_size: int, **settings: Any) -> Cell[Any, Any]:
    """A registered cell, with the settings that it has."""
    make = CELLS[name]
    known = inspect.signature(make).parameters
    return make(hidden_size, **{key: value for key, value in settings.items() if key in known})


def _stack(
    cells: Sequence[Cell[Any, Any]], between_rate: float, *, input_rate: float = 0.0, variational: bool = False
) -> Cell[Any, Any]:
    """Cells on top of each other, with dropout of the inputs and between them, but none of the outputs."""

    def with_dropout(index: int, cell: Cell[Any, Any]) -> Cell[Any, Any]:
        rates = input_rate if index == 0 else 0.0, between_rate if index < len(cells) - 1 else 0.0
        return Dropout(cell, *rates, variational) if any(rates) else cell

    layers = tuple(with_dropout(index, cell) for index, cell in enumerate(cells))
    return layers[0] if len(layers) == 1 else Stack(layers)
