"""How far the gradient of truncated BPTT is from the exact one, by how far it goes back and by the lag.

config.py       the settings
experiment.py   what is measured, in JAX: one cell on the task at one lag, all seeds
records.py      from measurements to records
figures.py      the figure
command.py      the command line
"""

from benchmarks.truncation.command import command, defaults

__all__ = ["command", "defaults"]
