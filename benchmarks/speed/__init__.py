"""How fast RNN, LSTM and GRU run, forward and for a training step, beside other libraries doing the same work.

config.py       the settings
measure.py      what is measured: one cell on one shape, all libraries in turn
records.py      from measurements to records, and back to what tables and figures show
figures.py      the figure
report.py       the tables in the terminal
command.py      the command line: runs, resumes, reports
"""

from benchmarks.speed.command import command, defaults

__all__ = ["command", "defaults"]
