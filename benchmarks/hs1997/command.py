"""The command line of the benchmark of 1997."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Annotated, Any, NamedTuple

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
    devices = jax.local_devices()[: config.devices]
    parts = share_out(left, efforts, len(devices))
    happening = over_devices(parts, devices, efforts, config.seed)
    with progress_bar(console) as progress, closing(happening):
        bar = progress.add_task("", total=len(efforts), completed=len(efforts) - len(left))
        seen, ended = dict.fromkeys(parts, 0.0), dict.fromkeys(parts, 0)
        for part, event in happening:
            row = part.row
            if isinstance(event, Outcome):
                results.append([make_record(config, row, efforts[row], event, here)])
                ended[part] += 1
            else:
                seen[part] = min(event.sequences / efforts[row].cap, 1)
            over = sum(ended[each] for each in parts if each.row == row)
            done = {part: ended[part] + seen[part] * (len(part.trials) - ended[part]) for part in parts}
            progress.update(
                bar,
                completed=len(efforts) - len(left) + sum(trials / len(left[part.row]) for part, trials in done.items()),
                description=f"{row}: {over} of {len(left[row])} trials",
            )


class Part(NamedTuple):
    """Trials of a row that one device runs together."""

    row: str
    trials: tuple[int, ...]


def share_out(left: Mapping[str, Sequence[int]], efforts: Mapping[str, Effort], devices: int) -> list[Part]:
    """Rows, the longest first: one that begins last would leave the other devices with nothing to do.

    One that would keep them waiting all the same, for it is more than a device's share of the work, is cut.
    """
    seconds = {name: ROWS[name].seconds(efforts[name]._replace(trials=len(trials))) for name, trials in left.items()}
    share = sum(seconds.values()) / devices
    parts = []
    for name in sorted(left, key=lambda name: seconds[name], reverse=True):
        count = min(max(1, round(seconds[name] / share)), len(left[name]))
        parts += [Part(name, tuple(left[name][place::count])) for place in range(count)]
    return parts


def over_devices(
    parts: Sequence[Part], devices: Sequence[jax.Device], efforts: Mapping[str, Effort], seed: int
) -> Generator[tuple[Part, Outcome | Progress]]:
    """Rows in turn on whichever device is free (of a CPU one a core); what happens in them, as it happens."""
    events: SimpleQueue[tuple[Part, Outcome | Progress | BaseException | None]] = SimpleQueue()
    free: SimpleQueue[jax.Device] = SimpleQueue()
    stop = Event()
    for device in devices:
        free.put(device)

    def work(part: Part) -> None:
        device = free.get()
        going = list(part.trials)
        try:
            with jax.default_device(device):
                for event in run(ROWS[part.row], efforts[part.row].cap, seed, part.trials):
                    events.put((part, event))
                    if isinstance(event, Outcome):
                        going.remove(event.trial)
                    if stop.is_set():
                        return
        except jax.errors.JaxRuntimeError as error:
            for trial in going:
                events.put((part, Outcome(trial, "failed", None, None, None, 0.0, one_line(error))))
        except BaseException as error:
            events.put((part, error))
        finally:
            free.put(device)
            events.put((part, None))

    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for part in parts:
                pool.submit(work, part)
            going = len(parts)
            while going:
                part, event = events.get()
                if event is None:
                    going -= 1
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield part, event
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
