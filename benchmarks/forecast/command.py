"""The command line of the forecasting benchmark."""

from functools import partial
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.forecast import front
from benchmarks.forecast.config import Config, recipe
from benchmarks.forecast.experiment import baseline, load, make_trainable, measure_flow
from benchmarks.forecast.figures import draw_all
from benchmarks.forecast.records import make_record, make_records
from benchmarks.forecast.report import print_table, write_report
from benchmarks.options import recipe_of
from benchmarks.results import Record, Results, pick
from benchmarks.run import open_results, saved_settings
from benchmarks.training import FlowOptions, checked, resumable, train_and_record
from rnnjax.tasks.forecasting import ForecastingData

command = cyclopts.App()
command.command(front.command, name="front")


def defaults(config: Config = Config(), options: FlowOptions = FlowOptions(), **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the series."""
    return recipe(config) if options.resume is None else saved_settings(options.resume, Config)


@command.default
def train(
    *,
    config: Annotated[Config, recipe_of("the series"), Parameter(name="*")] = Config(),
    options: Annotated[FlowOptions, Parameter(name="*")] = FlowOptions(),
) -> None:
    """Train forecasters, several seeds side by side, and set them beside simple forecasts.

    Prints a table and writes records.jsonl, config.json, environment.json, figures (PNG and SVG), report.html and
    checkpoints to OUT/forecast/TIME/. Ctrl-C and SIGTERM save before they end. The default run takes a minute or two on
    two cores; `--series waves` repeats the ten-step table of the book "Hands-On Machine Learning" in about a quarter of
    an hour.

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
    trainables = {
        name: checked(f"--models {network[0]}", partial(make_trainable, config, *network, data))
        for name, network in config.networks.items()
    }
    here = environment.describe()
    with (
        open_results(console, "forecast", config, here, options.out, options.resume) as results,
        resumable(results, "forecast"),
    ):
        for name in config.baselines:
            if not pick(results.read(), name=name):
                result = {"status": "ok", **baseline(name, data)}
                results.append(make_records(config, name, [], result, here))
        train_and_record(
            console,
            config,
            list(config.networks),
            trainables.__getitem__,
            lambda name, history, result: make_records(config, name, history, result, here),
            results,
            options,
            field="name",
            unit="example",
            nats=False,
        )
        if options.flow:
            with console.status("Measuring the gradient's norms"):
                record_flow(config, data, results, here)
        records = results.read()
        with console.status("Drawing figures"):
            report = write_report(results.folder, records, config, draw_all(records, config, results.folder))
    print_table(console, records, config)
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)


def record_flow(config: Config, data: ForecastingData, results: Results, here: Record) -> None:
    """Adds the gradient norms of every trained network that has none yet."""
    for name in config.networks:
        (result,) = pick(results.read(), name=name, kind="result")
        if result["epoch"] is not None and not pick(results.read(), name=name, kind="flow"):
            norms = measure_flow(config, name, data, results.folder)
            results.append([make_record(config, name, "flow", norms, here)])
