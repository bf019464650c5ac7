"""The experiments of the LSTM paper of 1997, beside its numbers.

rows.py        the rows of its tables as data: tasks, networks, settings, published numbers
config.py      which rows a run does, and how much of each
experiment.py  the trials of a row: on-line training until the row's criterion says stop
records.py     from trials to records, and from records to what is shown
report.py      the table
figures.py     the figure
command.py     `python -m benchmarks hs1997`
"""

from benchmarks.hs1997.command import command, defaults

__all__ = ["command", "defaults"]
