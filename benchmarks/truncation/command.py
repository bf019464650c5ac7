"""The command line of the benchmark of truncation."""

from pathlib import Path
from typing import Annotated, Any

import jax
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.devices import use_devices
from benchmarks.errors import failure
from benchmarks.results import Record, Results, pick
from benchmarks.run import open_results, progress_bar, saved_settings, shown
from benchmarks.truncation.config import Config
from benchmarks.truncation.experiment import Experiment
from benchmarks.truncation.figures import draw
from benchmarks.truncation.records import is_done, make_records
from benchmarks.truncation.report import write_report


def defaults(resume: Path | None = None, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run."""
    return saved_settings(resume, Config) if resume is not None else {}


def command(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    resume: Path | None = None,
) -> None:
    """Measure the bias of truncated backpropagation through time.

    For every cell, lag, k2 and seed: cosine and relative norm of the gradient of truncated BPTT(1, k2) beside that of
    full BPTT, at initialisation. Writes records.jsonl, config.json, environment.json and report.html with its figure
    (PNG and SVG) to OUT/truncation/TIME/.

    Parameters
    ----------
    config
        Settings.
    out
        Folder that the results folder is made in.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    """
    console = Console()
    config.check()
    use_devices(config.devices, config.seeds)
    here = environment.describe()

    def show(records: list[Record]) -> None:
        report = write_report(results.folder, records, config, draw(records, config, results.folder))
        console.print(f"Report: {report}", soft_wrap=True, highlight=False)

    with open_results(console, "truncation", config, here, out, resume) as results, shown(results, show):
        measure(console, config, results, here)


def measure(console: Console, config: Config, results: Results, here: dict[str, Any]) -> None:
    """Runs what the results folder does not hold yet."""
    experiments = [Experiment(config, cell, lag) for lag in sorted(config.lags) for cell in config.cells]
    records = results.read()
    done = [experiment for experiment in experiments if is_done(records, experiment)]
    results.keep(record for experiment in done for record in pick(records, **experiment.key))
    with progress_bar(console) as progress:
        bar = progress.add_task("", total=len(experiments), completed=len(done))
        for experiment in experiments:
            if experiment not in done:
                description = f"{experiment.cell_name}, lag {experiment.lag}"
                progress.update(bar, description=description)
                try:
                    results.append(make_records(experiment, experiment.measure(), here))
                except (jax.errors.JaxRuntimeError, MemoryError) as error:
                    status = failure(error)
                    console.print(f"{description}: {status}", style="red")
                    results.append(make_records(experiment, experiment.failed(), here, status))
                progress.advance(bar)
