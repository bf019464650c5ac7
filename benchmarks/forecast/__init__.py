"""Forecasts of series: waves of a formula beside a book's table, and real series beside simple forecasts.

config.py       the settings, what is set where a series says so, and the published numbers
experiment.py   one network on one series, all seeds at once; baselines; what they are scored by
flow.py         how much of the error of a forecast reaches the steps before it
records.py      from results to records
figures.py      forecasts, errors by the step ahead, learning curves, gradient norms
report.py       the table and report.html
front.py        the command `front`: half-lives of the gradient behind a convolution
command.py      the command line
"""

from benchmarks.forecast.command import command

__all__ = ["command"]
