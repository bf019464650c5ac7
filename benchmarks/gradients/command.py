"""The command line of the gradient benchmark."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.devices import use_devices
from benchmarks.errors import UsageError, failure
from benchmarks.gradients import compare as comparison
from benchmarks.gradients.config import Config
from benchmarks.gradients.experiment import Experiment
from benchmarks.gradients.figures import draw_all
from benchmarks.gradients.records import is_done, make_records
from benchmarks.gradients.report import print_table, write_report
from benchmarks.results import Results
from benchmarks.run import open_results, progress_bar, saved_settings


def defaults(resume: Path | None = None, compare: str | None = None, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or of the comparison."""
    if resume is not None and compare is not None:
        raise UsageError("--resume: --compare does not resume, leave one of them out")
    if resume is not None:
        return saved_settings(resume, Config)
    return asdict(comparison.SETTINGS) if compare is not None else {}


def command(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    resume: Path | None = None,
    compare: Literal["torch"] | None = None,
) -> None:
    """Compare gradient norms of recurrent cells over long time lags.

    For every cell, lag and seed: the norm of the loss's gradient with respect to the carry at every step, at
    initialisation and after training with and without gradient clipping. Prints a table and writes records.jsonl,
    config.json, environment.json, figures (PNG and SVG) and report.html to OUT/gradients/TIME/.

    Parameters
    ----------
    config
        Settings.
    out
        Folder that the results folder is made in.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    compare
        Instead, time the gradient norms against another library on the same work: 1000 steps, batch 16, 8 inputs,
        64 hidden units, 8 seeds, unless --cells, --lags (the largest counts), --batch-size, --hidden-size or --seeds
        say otherwise.
    """
    console = Console()
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    config.check()
    use_devices(config.devices, config.seeds)
    if compare is not None:
        comparison.run(console, config, out)
        return
    here = environment.describe()
    with open_results(console, "gradients", config, here, out, resume) as results:
        measure(console, config, results, here)
        records = results.read()
        with console.status("Drawing figures"):
            report = write_report(results.folder, records, config, draw_all(records, config, results.folder))
    print_table(console, records, config)
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)


def measure(console: Console, config: Config, results: Results, here: dict[str, Any]) -> None:
    """Runs what the results folder does not hold yet, and adds the records of each experiment as it is done."""
    experiments = [Experiment(config, cell, lag) for lag in sorted(config.lags) for cell in config.cells]
    records = results.read()
    done = [experiment for experiment in experiments if is_done(records, experiment)]
    if records:
        finished = {(experiment.cell_name, experiment.lag) for experiment in done}
        results.keep(record for record in records if (record["cell"], record["lag"]) in finished)
    todo = [experiment for experiment in experiments if experiment not in done]
    with (
        progress_bar(console) as progress,
        # While one experiment runs, the next ones compile: on two cores this takes a third off the whole.
        ThreadPoolExecutor(1) as compiler,
    ):
        bar = progress.add_task(
            "", total=sum(_work(each) for each in experiments), completed=sum(_work(each) for each in done)
        )
        programs = [compiler.submit(experiment.compile) for experiment in todo]
        try:
            for experiment, compiled in zip(todo, programs, strict=True):
                progress.update(bar, description=f"{experiment.cell_name}, lag {experiment.lag}")
                records = []
                try:
                    for event in experiment.run(compiled.result()):
                        if isinstance(event, int):
                            progress.advance(bar, _work(experiment) * event / (2 * config.steps))
                        else:
                            records += make_records(experiment, event, here)
                except (jax.errors.JaxRuntimeError, MemoryError) as error:
                    status = failure(error)
                    console.print(f"{experiment.cell_name}, lag {experiment.lag}: {status}", style="red")
                    records = [
                        r for phase in experiment.failed() for r in make_records(experiment, phase, here, status)
                    ]
                results.append(records)
        finally:
            compiler.shutdown(wait=False, cancel_futures=True)


def _work(experiment: Experiment) -> int:
    """Roughly how long an experiment takes: its lag, and compilation, which costs as much as a lag of some hundred."""
    return 200 + experiment.lag
