"""What the commands train and evaluate do, of every benchmark whose models write."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import environment
from benchmarks.errors import UsageError
from benchmarks.figures import in_style, save
from benchmarks.report import Page, PageTable, write_page
from benchmarks.results import Record, Results, pick
from benchmarks.run import saved_settings
from benchmarks.training import FlowOptions, checked, from_saved, resumable, train_and_record
from benchmarks.writing import figures
from benchmarks.writing.config import WritingConfig
from benchmarks.writing.experiment import (
    Data,
    Trained,
    load_best,
    make_trainable,
    measure_flow,
    save_vocabularies,
    saved_vocabularies,
    write,
)
from benchmarks.writing.records import SCORES, make_records, print_table, table_rows
from benchmarks.writing.scores import measure
from rnnjax.tasks.text import Vocabulary
from rnnjax.train import pairs

Known = tuple[Vocabulary | None, Vocabulary]
Drawing = tuple[str, Callable[[], Figure], str]
"""The name of a figure, how it is drawn, and its caption."""


class Own(NamedTuple):
    """What a benchmark has in its report beside what all have."""

    drawings: Sequence[Drawing] = ()
    tables: Sequence[PageTable] = ()
    template: Path = Path("report.html.j2")
    content: Mapping[str, Any] = MappingProxyType({})
    """What the template needs."""


def train(
    benchmark: str,
    config: WritingConfig,
    load: Callable[[], Data],
    own: Callable[[Data, Sequence[Record]], Own],
    options: FlowOptions,
) -> None:
    """Trains what the results folder does not hold yet; then figures, report and table.

    Args:
        benchmark: its name.
        config: checked.
        load: reads the data.
        own: what of the report is the benchmark's own.
        options: of the command line.
    """
    console = Console()
    options.check()
    config.use_devices()
    data = load()
    trainables = {cell: checked(f"--cell {cell}", partial(make_trainable, config, cell, data)) for cell in config.cell}
    here = environment.describe()
    settings = dataclasses.asdict(config)
    if options.resume is None:
        results = Results.create(options.out, benchmark, settings, here)
        save_vocabularies(results.folder, data)
    else:
        results = Results.resume(options.resume, settings)
    console.print(f"Results go to {results.folder}", soft_wrap=True, highlight=False)
    with resumable(results, f"{benchmark} train"):
        train_and_record(
            console,
            config,
            config.cell,
            trainables.__getitem__,
            lambda cell, history, result: make_records(benchmark, config, cell, history, result, here),
            results,
            options,
            unit="token",
        )
        if options.flow:
            record_flow(benchmark, config, data, results, here)
    records = results.read()
    with console.status("Drawing figures"):
        report(benchmark, config, records, results.folder, own(data, records))
    print_table(console, records, f"{benchmark} {config.data}")
    console.print(f"Report: {results.folder / 'report.html'}", soft_wrap=True, highlight=False)


def record_flow(benchmark: str, config: WritingConfig, data: Data, results: Results, here: Record) -> None:
    """Adds the gradient norms of every trained model that has none yet."""
    for cell in config.cell:
        records = results.read()
        trained = [result for result in pick(records, cell=cell, kind="result") if result["epoch"] is not None]
        if trained and not pick(records, cell=cell, kind="flow"):
            best = best_of(config, cell, data, results.folder)
            norms = measure_flow(data, best.build, best.params)
            about = {"config": dataclasses.asdict(config), "environment": here}
            results.append([{"benchmark": benchmark, "cell": cell, "kind": "flow", "norms": norms, **about}])


def best_of(config: WritingConfig, cell: str, data: Data, folder: Path) -> Trained:
    return load_best(config, cell, (data.source_size, len(data.target)), folder)


def report(
    benchmark: str,
    config: WritingConfig,
    records: Sequence[Record],
    folder: Path,
    own: Own,
) -> None:
    """Figures and report.html."""
    title = f"{benchmark} {config.data}"
    everywhere: list[Drawing] = [
        ("loss", lambda: figures.loss_against_epoch(records, config.cell, title), "Loss against the epoch."),
        *own.drawings,
    ]
    if pick(records, kind="flow"):
        everywhere.append(
            (
                "flow",
                lambda: figures.gradient_flow(records, config.cell, title),
                "The gradient of the loss by the hidden state at every step of the trained models.",
            )
        )
    with in_style():
        saved = [(save(draw(), folder, name), caption) for name, draw, caption in everywhere]
    rows = table_rows(records)
    best = max(
        (result for result in pick(records, kind="result")),
        key=lambda result: next(iter(result["scores"].values()), 0.0),
    )
    scores = ", ".join(f"{SCORES[name][0]} {SCORES[name][1].format(value)}" for name, value in best["scores"].items())
    write_page(
        folder,
        Page(
            title=title,
            summary=f"{', '.join(config.cell)}, trained on {config.data}: {scores or 'diverged'} on the test split.",
            how_to_read=[
                "exact: share of texts that are one of the targets; error rate: edits from the nearest target, over "
                "its length; BLEU: by sacrebleu, of one to four words.",
                "Losses are nats a token, with the true tokens as inputs; minutes are those of training.",
            ],
            figures=saved,
            tables=[PageTable("Results", rows), *own.tables],
        ),
        own.template,
        **own.content,
    )


def evaluate(
    config: WritingConfig,
    data: Data,
    folder: Path,
    split: Literal["train", "valid", "test"],
    width: int | None,
    penalty: float | None,
) -> None:
    """Prints loss and scores of trained models at their best epoch, with a search of its own if it is given."""
    searching = dataclasses.replace(
        config,
        width=config.width if width is None else width,
        penalty=config.penalty if penalty is None else penalty,
    )
    searching.check()
    own, part = getattr(data, split), getattr(data.corpus, split)
    for cell in config.cell:
        best = best_of(config, cell, data, folder)
        loss = pairs.evaluator(best.build, own, config.eval_batch_size)(best.params)
        texts, _ = write(searching, data, best.build, best.params, own.sources)
        scores = measure(data.corpus, texts, part.targets[: len(texts)])
        found = ", ".join(f"{SCORES[name][0]} {SCORES[name][1].format(value)}" for name, value in scores.items())
        Console(soft_wrap=True, highlight=False).print(
            f"{cell}, epoch {best.epoch}, {split}: {loss:.4f} nats a token, {found}"
        )


def open_folder(folder: Path, kind: type) -> tuple[Any, Known]:
    """The settings and the vocabularies of a run."""
    try:
        settings = saved_settings(folder, kind)
    except UsageError as error:
        raise UsageError(str(error).removeprefix("--resume: ")) from None
    return from_saved(settings, kind), saved_vocabularies(folder)
