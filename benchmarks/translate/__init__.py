"""Encoder-decoder models: additions, dates, pronunciations, English to German.

config.py       the settings, and the recipe of each data set
figures.py      attention maps
command.py      the command line: train, evaluate, write

All else is shared with the captions, in benchmarks/writing.
"""

from benchmarks.translate.command import command

__all__ = ["command"]
