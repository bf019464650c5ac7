"""The command line of the benchmark of 1997."""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Annotated, Any

import jax
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.devices import use_devices
from benchmarks.errors import one_line
from benchmarks.hs1997.config import Config
from benchmarks.hs1997.experiment import Outcome, Progress, run
from benchmarks.hs1997.figures import draw
from benchmarks.hs1997.records import make_record, missing
from benchmarks.hs1997.report import print_table, write_report
from benchmarks.hs1997.rows import ROWS, Effort
from benchmarks.results import Record, Results
from benchmarks.run import open_results, progress_bar, saved_settings, shown


def defaults(resume: Path | None = None, **others: Any) -> dict[str, Any]:
    """A resumed run has the settings that it was started with."""
    return {} if resume is None else saved_settings(resume, Config)


def command(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    resume: Path | None = None,
) -> None:
    """Repeat the experiments of the LSTM paper (Hochreiter & Schmidhuber 1997), beside its numbers.

    Every row of Tables 1-9 trains nets on-line, as published, until the published criterion is met or a cap of
    sequences is reached: LSTM by the truncated gradient of 1997, and its competitors. Prints the share of trials that
    succeeded and the sequences they took, beside what was published, and writes records.jsonl (one record a trial),
    config.json, environment.json and report.html with its figure (PNG and SVG) to OUT/hs1997/TIME/. The default run
    has part of the rows, with lower caps: about 15 minutes on two cores.

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
    use_devices(config.devices)
    here = environment.describe()

    def show(records: list[Record]) -> None:
        with console.status("Drawing"):
            report = write_report(results.folder, records, draw(records, results.folder))
        print_table(console, records)
        console.print(f"Report: {report}", soft_wrap=True, highlight=False)

    with open_results(console, "hs1997", config, here, out, resume) as results, shown(results, show):
        run_rows(console, config, results, here)


def run_rows(console: Console, config: Config, results: Results, here: Record) -> None:
    """Does what the results folder does not hold yet, and adds the record of each trial as it ends."""
    efforts = config.efforts
    left = missing(results.read(), efforts)
    happening = over_devices(efforts, left, config)
    with progress_bar(console) as progress, closing(happening):
        bar = progress.add_task("", total=len(efforts), completed=len(efforts) - len(left))
        done = dict.fromkeys(left, 0.0)
        ended = dict.fromkeys(left, 0)
        for name, event in happening:
            if isinstance(event, Outcome):
                results.append([make_record(config, name, efforts[name], event, here)])
                ended[name] += 1
                done[name] = max(done[name], float(ended[name] == len(left[name])))
            else:
                done[name] = event.sequences / efforts[name].cap
            progress.update(
                bar,
                completed=len(efforts) - len(left) + sum(min(share, 1) for share in done.values()),
                description=f"{name}: {ended[name]} of {len(left[name])} trials",
            )


def over_devices(
    efforts: Mapping[str, Effort], left: Mapping[str, list[int]], config: Config
) -> Generator[tuple[str, Outcome | Progress]]:
    """Rows in turn on whichever device is free (of a CPU one a core); what happens in them, as it happens."""
    events: SimpleQueue[tuple[str, Outcome | Progress | BaseException | None]] = SimpleQueue()
    devices: SimpleQueue[jax.Device] = SimpleQueue()
    stop = Event()
    here = jax.local_devices()[: config.devices]
    for device in here:
        devices.put(device)

    def work(name: str) -> None:
        device = devices.get()
        going = list(left[name])
        try:
            with jax.default_device(device):
                for event in run(ROWS[name], efforts[name].cap, config.seed, left[name]):
                    events.put((name, event))
                    if isinstance(event, Outcome):
                        going.remove(event.trial)
                    if stop.is_set():
                        return
        except jax.errors.JaxRuntimeError as error:
            for trial in going:
                events.put((name, Outcome(trial, "failed", None, None, None, 0.0, one_line(error))))
        except BaseException as error:
            events.put((name, error))
        finally:
            devices.put(device)
            events.put((name, None))

    with ThreadPoolExecutor(len(here)) as pool:
        try:
            # The longest first: one that begins last would leave the other devices with nothing to do.
            for name in sorted(left, key=lambda name: ROWS[name].seconds(efforts[name]), reverse=True):
                pool.submit(work, name)
            going = len(left)
            while going:
                name, event = events.get()
                if event is None:
                    going -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield name, event
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
