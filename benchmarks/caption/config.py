"""The settings of the benchmark of captions, and the recipe of each picture set."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from benchmarks.options import SHOWN, check_known
from benchmarks.writing.config import WritingConfig
from rnnjax.models import EncoderDecoder, captioner
from rnnjax.tasks.pictures import CAPTIONS


@dataclass(frozen=True)
class Config(WritingConfig):
    """Settings of a run; those that are not given are of the recipe of the data."""

    data: Annotated[str, SHOWN] = "shapes"
    """Pictures: shapes (drawn by the command itself), flickr8k (as features that another network has made of them),
    flickr8k-thumbnails (themselves, read by a network that is trained with the decoder)."""
    picture_to: Literal["carry", "steps", "both"] = "both"
    """Where the picture enters the decoder: its initial carry, every step, or both."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--data", [self.data], CAPTIONS)
        self.check_writing()

    def model(self, cell: str, source_size: Any, target_size: int) -> EncoderDecoder:
        return captioner(
            source_size,
            target_size,
            cell=cell,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            layers=self.layers,
            summary_to=self.picture_to,
            dropout=self.dropout,
            rngs=self.rngs,
        )


FLICKR = Config(
    data="flickr8k", batch_size=128, learning_rate=1e-3, max_norm=1.0, hidden_size=256, embedding_size=256,
    dropout=0.4, min_count=5, shapes=4, epochs=10, decay=0.7, decay_after=5, width=3, penalty=0.7,
)  # fmt: skip
RECIPES: dict[str, Config] = {
    "shapes": Config(batch_size=64, learning_rate=2e-3, max_norm=5.0, epochs=15),
    "flickr8k": FLICKR,
    "flickr8k-thumbnails": dataclasses.replace(FLICKR, data="flickr8k-thumbnails"),
}
"""The settings of a picture set that are not given, by its name."""


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for."""
    return dataclasses.asdict(RECIPES[config.data]) if config.data in RECIPES else {}
