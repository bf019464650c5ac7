"""The command line of the classification benchmark."""

from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.classify.config import Config, recipe
from benchmarks.classify.experiment import load, load_best, make_trainable, seeded
from benchmarks.classify.figures import draw_all
from benchmarks.classify.flow import measure
from benchmarks.classify.records import make_flow_records, make_records, tested
from benchmarks.classify.report import print_table, write_report
from benchmarks.options import recipe_of
from benchmarks.results import Record, Results, pick
from benchmarks.run import open_results, saved_settings
from benchmarks.training import FlowOptions, checked, resumable, train_and_record
from rnnjax.tasks.labelled import Labelled


def defaults(config: Config = Config(), options: FlowOptions = FlowOptions(), **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the data set."""
    return recipe(config) if options.resume is None else saved_settings(options.resume, Config)


def command(
    *,
    config: Annotated[Config, recipe_of("the data set"), Parameter(name="*")] = Config(),
    options: Annotated[FlowOptions, Parameter(name="*")] = FlowOptions(),
) -> None:
    """Classify sequences: speakers, surnames, film reviews, digits.

    Trains models of each cell by the recipe of the data set or as the options say, and tests each at the epoch with the
    least validation loss: accuracy with a confidence interval, beside that of naming the most frequent class. Prints a
    table and writes records.jsonl, config.json, environment.json, figures (PNG and SVG), report.html and checkpoints to
    OUT/classify/TIME/. Ctrl-C and SIGTERM save before they end.

    Parameters
    ----------
    config
        Settings.
    options
        Folders, and what is kept of the run.
    """
    console = Console()
    config.check()
    options.check()
    config.use_devices()
    data = load(config, options.data_dir)
    for run, (cell, seed) in config.runs.items():
        if seed == config.seed:  # of each cell one
            checked(f"--cell {cell}", partial(make_trainable, config, run, data))
    here = environment.describe()
    with (
        open_results(console, "classify", config, here, options.out, options.resume) as results,
        resumable(results, "classify"),
    ):
        for run in config.runs:
            train_and_record(
                console,
                seeded(config, run),
                [run],
                lambda run: make_trainable(config, run, data),
                lambda run, history, result: make_records(config, run, history, result, here),
                results,
                options,
                field="run",
            )
        if options.flow:
            measure_flow(console, config, data, results, here)
        records = results.read()
        with console.status("Drawing figures"):
            report = write_report(results.folder, records, config, draw_all(records, config, results.folder))
    print_table(console, records, config)
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)


def measure_flow(console: Console, config: Config, data: Labelled, results: Results, here: Record) -> None:
    """Adds the records of all models that have none yet."""
    with console.status("Measuring the gradient's norms"):
        for run in (result["run"] for result in tested(results.read())):
            if not pick(results.read(), run=run, kind="flow"):
                norms = measure(load_best(config, run, data, results.folder), data.test)
                results.append(list(make_flow_records(config, run, norms, here)))
