"""Many-to-one: one class for a whole sequence, of speech, text or pixels.

config.py       the settings, and the recipe of each data set
experiment.py   one cell trained on one data set with one seed
flow.py         the gradient's norm over the steps of a trained model
records.py      from runs to records, and the rows of tables
figures.py      the confusion matrix, the losses, the gradient's norms
report.py       the table in the terminal, and report.html
command.py      the command line
"""

from benchmarks.classify.command import command

__all__ = ["command"]
