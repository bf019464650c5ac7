"""A model trained on pairs, what it writes, and how good that is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.errors import BenchmarkError, UsageError
from benchmarks.results import Record, digits
from benchmarks.training import Trainable, checkpoints
from benchmarks.writing.config import WritingConfig
from benchmarks.writing.scores import measure
from rnnjax import flow
from rnnjax.models import END, EncoderDecoder, gradient_flow, split
from rnnjax.tasks.pairs import PairCorpus, Split, Unit
from rnnjax.tasks.text import END_OF_LINE, UNKNOWN, Vocabulary
from rnnjax.train import CheckpointError, pairs
from rnnjax.train.checkpoints import digest
from rnnjax.train.pairs import Padded, Pairs

START_OF_LINE = "<sos>"
SAMPLES = 20
"""Written texts that the records keep."""
MAPS = 3
"""Attention maps that the records keep."""
FLOW_EXAMPLES = 64


class Data(NamedTuple):
    """A corpus as arrays."""

    corpus: PairCorpus
    source: Vocabulary | None
    """None of pictures."""
    target: Vocabulary
    train: Pairs
    valid: Pairs
    test: Pairs
    reverse: bool

    @property
    def source_size(self) -> int | tuple[int, ...]:
        """The number of tokens, or the shape of a picture."""
        shape: tuple[int, ...] = self.corpus.test.sources[:1].shape[1:] if self.source is None else ()
        return shape if self.source is None else len(self.source)

    @property
    def longest(self) -> int:
        """Tokens of the longest text that was learned from."""
        return int(self.train.targets.tokens.shape[1])

    def text(self, tokens: np.ndarray) -> str:
        return self.corpus.target_unit.text(self.target.decode(tokens))

    @property
    def never(self) -> tuple[int, ...]:
        """Tokens that are not written: <unk>."""
        return tuple(self.target.encode([UNKNOWN])) if UNKNOWN in self.target.symbols else ()


def load(
    config: WritingConfig,
    corpus: PairCorpus,
    reverse: bool = False,
    known: tuple[Vocabulary | None, Vocabulary] | None = None,
) -> Data:
    """The arrays of a corpus; the vocabularies are made of its training split, unless they are known."""
    count = config.examples or len(corpus.train.targets)
    train = Split(corpus.train.sources[:count], corpus.train.targets[:count])
    if known is None:
        target = _vocabulary(corpus.target_unit, [text for own in train.targets for text in own], config.min_count)
        target = Vocabulary((START_OF_LINE, END_OF_LINE, *target.symbols))
        known = corpus.source_unit and _vocabulary(corpus.source_unit, train.sources, config.min_count), target
    source, target = known

    def encode(part: Split) -> Pairs:
        sources: Any = part.sources
        if source is not None and corpus.source_unit is not None:
            sources = encode_sources(source, corpus.source_unit, part.sources, reverse)
        which = [place for place, own in enumerate(part.targets) for _ in own]
        symbols = [corpus.target_unit.symbols(text) for own in part.targets for text in own]
        targets = Padded.of([np.append(target.encode(each), np.int32(END)) for each in symbols])
        return Pairs(jax.tree.map(jnp.asarray, sources), jnp.asarray(np.array(which, np.int32)), targets)

    return Data(corpus, source, target, encode(train), encode(corpus.valid), encode(corpus.test), reverse)


def encode_sources(vocabulary: Vocabulary, unit: Unit, texts: Sequence[str], reverse: bool) -> Padded:
    """Texts to read."""
    encoded = [vocabulary.encode(unit.symbols(text)) for text in texts]
    return Padded.of([tokens[::-1] if reverse else tokens for tokens in encoded])


def _vocabulary(unit: Unit, texts: Sequence[str], min_count: int) -> Vocabulary:
    return Vocabulary.build([symbol for text in texts for symbol in unit.symbols(text)], min_count)


class Trained(NamedTuple):
    """A trained model, at its best epoch."""

    params: Any
    build: Callable[[Any], EncoderDecoder]
    epoch: int


def load_best(config: WritingConfig, cell: str, sizes: tuple[Any, int], folder: Path) -> Trained:
    """The best model of a results folder."""
    params, _, build = split(config.model(cell, *sizes))
    try:
        params, data = checkpoints(config, folder / cell, "best").restore(params)
    except CheckpointError as error:
        raise BenchmarkError(str(error)) from None
    return Trained(params, build, data["epoch"])


def make_trainable(config: WritingConfig, cell: str, data: Data) -> Trainable:
    """A cell, and the pairs that a model of it is trained on."""
    shapes = pairs.shapes(data.train, config.shapes)
    scheduled = config.teacher_forcing < 1 or config.forcing_decay < 1
    try:
        plan = pairs.by_length(
            data.train,
            shapes,
            config.batch_size,
            config.seed,
            lambda epoch: config.teacher_forcing * config.forcing_decay**epoch,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    params, _, build = split(config.model(cell, data.source_size, len(data.target)))
    return Trainable(
        params,
        None,
        pairs.pair_loss(build, shapes, scheduled_sampling=scheduled),
        data.train,
        plan,
        pairs.evaluator(build, data.valid, config.eval_batch_size),
        lambda params: test(config, data, build, params),
        specs=(PartitionSpec(), PartitionSpec(), (PartitionSpec(None, "batch"), PartitionSpec(), PartitionSpec())),
        identity={"pairs": digest((data.train, data.valid))},
    )


def test(config: WritingConfig, data: Data, build: Callable[[Any], EncoderDecoder], params: Any) -> Record:
    """What the record of a result says: loss and scores on the test split, some texts and attention maps."""
    loss = pairs.evaluator(build, data.test, config.eval_batch_size)(params)
    texts, tokens = write(config, data, build, params, data.test.sources)
    targets = data.corpus.test.targets
    record: Record = {"test_loss": loss, "scores": measure(data.corpus, texts, targets)}
    record["samples"] = [
        {
            "source": data.corpus.test.sources[place] if data.source is not None else place,
            "written": texts[place],
            "targets": list(targets[place]),
        }
        for place in range(min(SAMPLES, len(texts)))
    ]
    if build(params).decoder.attention is not None:
        record["attention"] = attention_maps(data, build, params, tokens[:MAPS])
    return record


def write(
    config: WritingConfig, data: Data, build: Callable[[Any], EncoderDecoder], params: Any, sources: Any
) -> tuple[list[str], list[np.ndarray]]:
    """What a model makes of sources: texts, and their tokens."""
    search = config.search(data.longest, data.never)
    tokens = pairs.tokens_of(pairs.writer(build, search, sources, config.eval_batch_size)(params))
    return [data.text(each) for each in tokens], tokens


def attention_maps(
    data: Data, build: Callable[[Any], EncoderDecoder], params: Any, written: Sequence[np.ndarray]
) -> list[Record]:
    """Of the first test examples: the weights of every token that was written, a row each, over the source."""
    unit, places = data.corpus.source_unit, jnp.arange(len(written))
    assert unit is not None
    tokens = [np.append(each, np.int32(END)) for each in written]
    inputs, targets = pairs.inputs(data.test.sources, places), Padded.of(tokens).tokens.T
    program = jax.jit(lambda params, *batch: build(params).attention_weights(*batch))
    weights = np.asarray(program(params, inputs, targets))
    maps = []
    for place, length in enumerate(np.asarray(inputs.lengths)):
        own = weights[: len(tokens[place]), place, :length]
        maps.append(
            {
                "source": list(unit.symbols(data.corpus.test.sources[place])),
                "written": data.target.decode(tokens[place]),
                "weights": [digits(row) for row in (own[:, ::-1] if data.reverse else own)],
            }
        )
    return maps


def measure_flow(data: Data, build: Callable[[Any], EncoderDecoder], params: Any) -> Record:
    """Decimal logarithms of ||dL/dh_t||, a list over the steps for every part of a model.

    The mean over validation pairs of one length each: those of the most frequent pair of lengths.
    """
    sizes = pairs.lengths(data.valid)
    kinds, numbers, counts = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    common = int(counts.argmax())
    places = jnp.asarray(np.flatnonzero(numbers.reshape(-1) == common)[:FLOW_EXAMPLES])
    source, target = map(int, kinds[common])
    targets = data.valid.targets
    inputs = pairs.inputs(data.valid.sources, data.valid.which[places], source)
    arguments = inputs, targets.tokens[places, :target].T, targets.lengths[places]
    norms = jax.jit(lambda params, *rest: gradient_flow(build(params), *rest))(params, *arguments)
    return {part: digits(np.asarray(flow.log_mean(found)) / np.log(10)) for part, found in norms.items()}


def save_vocabularies(folder: Path, data: Data) -> None:
    symbols = {"source": None if data.source is None else data.source.symbols, "target": data.target.symbols}
    (folder / "vocabulary.json").write_text(json.dumps(symbols, ensure_ascii=False), encoding="utf-8")


def saved_vocabularies(folder: Path) -> tuple[Vocabulary | None, Vocabulary]:
    try:
        symbols = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        source, target = symbols["source"], Vocabulary(tuple(symbols["target"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(f"{folder} has no readable vocabulary.json") from None
    return None if source is None else Vocabulary(tuple(source)), target
