"""Language models, trained, evaluated and sampled from: characters and words.

config.py       the settings, and the recipe of each model
experiment.py   one cell trained on one text
records.py      from epochs to records
report.py       tables, and report.html
figures.py      perplexity against the epoch
compare.py      tokens a second beside PyTorch
command.py      the command line: train, evaluate, sample, --compare
"""

from benchmarks.language.command import command

__all__ = ["command"]
