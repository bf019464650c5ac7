"""The command line of the speed benchmark."""

import math
import time
from pathlib import Path
from typing import Annotated, Any

import jax
from cyclopts import Parameter
from rich.console import Console

from benchmarks import environment
from benchmarks.devices import use_devices
from benchmarks.errors import UsageError
from benchmarks.options import Int, check_least
from benchmarks.results import Results
from benchmarks.run import open_results, progress_bar, saved_settings
from benchmarks.speed.config import ON_ACCELERATORS, Config
from benchmarks.speed.figures import draw
from benchmarks.speed.measure import measure, peer_versions
from benchmarks.speed.records import is_done, make_records
from benchmarks.speed.report import print_tables, write_report


def defaults(config: Config = Config(), resume: Path | None = None, **others: Any) -> dict[str, Any]:
    """What options that were not given stand for: the settings of the resumed run, or what suits an accelerator."""
    if resume is not None:
        return saved_settings(resume, Config)
    return ON_ACCELERATORS if config.platform in ("gpu", "tpu") else {}


def command(
    *,
    config: Annotated[Config, Parameter(name="*")] = Config(),
    out: Path = Path("results"),
    resume: Path | None = None,
    budget: Int = 0,
) -> None:
    """Time recurrent networks beside other libraries: forward pass and training step.

    For every cell and shape all libraries are measured in turn, after each has shown that its outputs and gradients
    are those of rnnjax. A training step is the gradient of the mean of the squared outputs for weights and inputs. A
    library that is not installed or cannot do something is listed with the reason; the extra rnnjax[peers] brings
    all of them. Prints tables and writes records.jsonl, config.json, environment.json and report.html with its
    figures (PNG and SVG) to OUT/speed/TIME/. With --platform gpu or tpu the defaults are those of a run of ten
    minutes there: larger shapes too, both precisions, and the kernels and libraries that are made for accelerators.

    Parameters
    ----------
    config
        Settings.
    out
        Folder that the results folder is made in.
    resume
        Results folder of an interrupted run to go on with; its settings are taken over.
    budget
        Seconds after which no more cells and shapes are begun; the rest is for --resume. 0: no end.
    """
    console = Console()
    config.check()
    check_least("--budget", budget, 0)
    started = time.monotonic()
    start_jax(config.platform, max(config.devices))
    here = environment.describe() | peer_versions(config)
    for number, run in enumerate(config.runs, 1):
        end = started + budget * number / len(config.runs) if budget else math.inf
        with open_results(console, "speed", run, here, out, resume) as results:
            measure_all(console, run, results, here, end)
            records = results.read()
            with console.status("Drawing"):
                report = write_report(results.folder, records, run, draw(records, run, results.folder))
        print_tables(console, records, run)
        console.print(f"Report: {report}", soft_wrap=True, highlight=False)


def start_jax(platform: str, devices: int) -> None:
    """Starts JAX on so many devices of a platform; a cache of compiled programs would hide what compiling takes."""
    jax.config.update("jax_enable_compilation_cache", False)
    if platform != "auto":
        # To JAX "gpu" is NVIDIA's, AMD's and Intel's, all of which have to be there.
        jax.config.update("jax_platforms", "cuda,cpu" if platform == "gpu" else platform)
    try:
        use_devices(devices)
        found = jax.default_backend()
    except RuntimeError as error:
        raise UsageError(f"--platform: JAX cannot run here on {platform}: {error}") from None
    if platform not in ("auto", found):
        raise UsageError(f"--platform: JAX runs on {found} here, not on {platform}")


def measure_all(console: Console, config: Config, results: Results, here: dict[str, Any], end: float) -> None:
    """Measures what the results folder does not hold yet, and adds the records of each cell and shape as it is done.

    `end`: when no more are begun, by `time.monotonic`.
    """
    records = results.read()
    work = [(cell, shape) for shape in config.sizes for cell in config.cells]
    done = [(cell, shape) for cell, shape in work if is_done(records, config, cell, shape)]
    if records:
        finished = {(cell, str(shape)) for cell, shape in done}
        results.keep(record for record in records if (record["cell"], record["shape"]) in finished)
    with progress_bar(console) as progress:
        stages = len(config.columns) + config.repeats
        bar = progress.add_task("", total=stages * len(work), completed=stages * len(done))
        for cell, shape in work:
            if time.monotonic() > end:
                console.print(f"The budget is over; go on with: python -m benchmarks speed --resume {results.folder}")
                break
            if (cell, shape) not in done:
                progress.update(bar, description=f"{cell} {shape}")
                outcomes = measure(config, cell, shape, lambda: progress.advance(bar))
                results.append(make_records(config, cell, shape, outcomes, here))
