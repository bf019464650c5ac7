"""Which time lags are learned: success against the lag, by cell, task, optimiser and clipping.

config.py       the settings
experiment.py   what is trained, in JAX: one cell on one task at one lag, all thresholds of clipping and all seeds
records.py      from training to records, and back to what tables and figures show
figures.py      the figures
report.py       the tables
command.py      the command line: runs, resumes, reports
"""

from benchmarks.lags.command import command, defaults

__all__ = ["command", "defaults"]
