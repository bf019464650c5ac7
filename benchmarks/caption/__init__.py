"""Captions for pictures: drawn shapes, and the photographs of Flickr8k.

config.py       the settings, and the recipe of each picture set
report.html.j2  test pictures and what was written of them
command.py      the command line: train, evaluate

All else is shared with the encoder-decoder models, in benchmarks/writing.
"""

from benchmarks.caption.command import command

__all__ = ["command"]
