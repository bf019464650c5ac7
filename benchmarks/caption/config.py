"""The settings of the benchmark of captions, and the recipe of each picture set."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.options import check_known
from benchmarks.writing.config import WritingConfig
from rnnjax.models import EncoderDecoder, captioner
from rnnjax.tasks.pictures import CAPTIONS


@dataclass(frozen=True)
class Config(WritingConfig):
    """Settings of a run; those that are not given are of the recipe of the data."""

    data: str = "shapes"
    """Pictures: shapes (drawn by the command itself), flickr8k."""
    pictures: Literal["features", "thumbnails"] = "thumbnails"
    """What is read of a picture: features that another network made of it, or itself, by one that is trained here."""
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


SHAPES = Config(batch_size=64, learning_rate=2e-3, max_norm=5.0, epochs=12)
FLICKR = Config(
    data="flickr8k", pictures="features", batch_size=128, learning_rate=1e-3, max_norm=1.0, hidden_size=256,
    embedding_size=256, dropout=0.4, min_count=5, shapes=4, epochs=12, decay=0.8, decay_after=6, width=3, penalty=0.7,
)  # fmt: skip
RECIPES: dict[tuple[str, str], Config] = {
    ("shapes", "thumbnails"): SHAPES,
    ("flickr8k", "features"): FLICKR,
    ("flickr8k", "thumbnails"): dataclasses.replace(FLICKR, pictures="thumbnails"),
}
"""The settings that are not given, by data and what is read of a picture."""


def recipe(config: Config) -> dict[str, Any]:
    """What options that were not given stand for; a set of features is read as features unless the user says else."""
    known = RECIPES.get((config.data, config.pictures))
    return {} if known is None else dataclasses.asdict(known)
