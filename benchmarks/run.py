"""What the command of every benchmark does around its work: the results folder, progress, Ctrl-C and --resume."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.errors import Interrupted
from benchmarks.results import Record, Results


def saved_settings(folder: Path, config: type) -> dict[str, Any]:
    """The settings of the run that `--resume` goes on with, which must be those of this dataclass."""
    return Results.config(folder, [field.name for field in dataclasses.fields(config)])


@contextmanager
def open_results(
    console: Console,
    benchmark: str,
    config: Any,
    environment: Record,
    out: Path,
    resume: Path | None,
    command: str | None = None,
) -> Iterator[Results]:
    """The results folder, a new one or the one to resume; Ctrl-C inside says how to go on.

    `command` is what the benchmark is called on the command line, if not by its name.
    """
    settings = dataclasses.asdict(config)
    results = Results.resume(resume, settings) if resume else Results.create(out, benchmark, settings, environment)
    console.print(f"Results go to {results.folder}", soft_wrap=True, highlight=False)
    try:
        yield results
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; all finished records are in {results.folder}. "
            f"Go on with: python -m benchmarks {command or benchmark} --resume {results.folder}"
        ) from None


@contextmanager
def shown(results: Results, show: Callable[[list[Record]], None]) -> Iterator[None]:
    """Shows the records when the work inside is done, or was interrupted: what there is by then."""
    try:
        yield
    except KeyboardInterrupt:
        if records := results.read():
            show(records)
        raise
    show(results.read())


def progress_bar(console: Console) -> Progress:
    """What is done, and how long the rest may take."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
