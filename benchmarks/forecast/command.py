"""The command line of the forecasting benchmark."""

from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.forecast import front
from benchmarks.forecast.config import Config, recipe
from benchmarks.forecast.experiment import baseline, load, make_trainable
from benchmarks.forecast.figures import draw_all
from benchmarks.forecast.records import make_records
from benchmarks.forecast.report import print_table, write_report
from benchmarks.options import Int, check_least
from benchmarks.results import pick
from benchmarks.run import open_results, saved_settings
from benchmarks.training import resumable, train_and_record

command = cyclopts.App(help="Forecast series: networks beside simple forecasts.")
command.command(front.command, name="front")


def defaults(config: Config = Config(), resume: Path | None = None, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or the recipe of the series."""
    return recipe(config) if resume is None else saved_settings(resume, Config)


@command.default
def train(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    data_dir: Path | None = None,
    keep: Int = 3,
    tensorboard: bool = False,
    resume: Path | None = None,
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
    out
        Folder that the results folder is made in.
    data_dir
        Folder of the series; what is not in it is fetched. By default the one that RNNJAX_DATA names.
    keep
        Checkpoints to keep of each network, beside the best one.
    tensorboard
        Write TensorBoard event files too.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    """
    console = Console()
    config.check()
    check_least("--keep", keep, 1)
    config.use_devices()
    data = load(config, data_dir)
    trainables = {name: make_trainable(config, *network, data) for name, network in config.networks.items()}
    here = environment.describe()
    with open_results(console, "forecast", config, here, out, resume) as results, resumable(results, "forecast"):
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
            keep=keep,
            tensorboard=tensorboard,
            field="name",
            unit="example",
            nats=False,
        )
        records = results.read()
        with console.status("Drawing figures"):
            report = write_report(results.folder, records, config, draw_all(records, config, results.folder))
    print_table(console, records, config)
    console.print(f"Report: {report}", soft_wrap=True, highlight=False)
