"""How much of the error reaches back over a time lag: gradient norms of RNN, LSTM and GRU.

config.py       the settings
experiment.py   what is measured, in JAX: one cell at one lag, all seeds
records.py      from measurements to records, and back to what tables and figures show
figures.py      the figures
why.py          numbers that explain why gradients vanish
report.py       the table in the terminal and report.html
compare.py      the same work in another library
command.py      the command line: runs, resumes, reports
"""

from benchmarks.gradients.command import command, defaults

__all__ = ["command", "defaults"]
