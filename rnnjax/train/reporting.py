"""Where the metrics of a run go: a progress bar in the terminal, TensorBoard event files.

Each is a `rnnjax.train.Report` and a context manager. Both want a package of the extra `rnnjax[train]`.
"""

import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rnnjax.train.loop import Progress


class Reporter:
    """A report that is open for the length of a `with` block."""

    def __call__(self, progress: Progress, count: int, metrics: dict[str, float]) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class ProgressBar(Reporter):
    """A bar over all epochs in the terminal, with loss, perplexity and work a second.

    Args:
        epochs: how many there will be.
        label: stands before the numbers.
        unit: what the loss is a mean over, in the singular.
        nats: whether the loss is a cross-entropy, which has a perplexity.
        console: a `rich.console.Console` to write to.
    """

    def __init__(self, epochs: int, label: str = "", *, unit: str = "token", nats: bool = True, console: Any = None):
        try:
            import rich.progress as bars
        except ImportError:
            raise ImportError("the progress bar needs rich: pip install 'rnnjax[train]'") from None
        columns = bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.BarColumn(20)
        times = bars.TimeElapsedColumn(), bars.TextColumn("left"), bars.TimeRemainingColumn()
        self._bars = bars.Progress(*columns, *times, console=console)
        self._epochs, self._label, self._unit, self._nats = epochs, label, unit, nats
        self._bar = self._bars.add_task(f"{label} compiling", total=epochs)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __call__(self, progress: Progress, count: int, metrics: dict[str, float]) -> None:
        finished = "valid_loss" in metrics
        name, loss = ("validation", metrics["valid_loss"]) if finished else ("loss", metrics["loss"])
        epoch = progress.epoch if finished else progress.epoch + 1
        text = f"{self._label} epoch {epoch}/{self._epochs}, {name} {loss:.4g}, "
        text += f"perplexity {perplexity(loss):.4g}, " if self._nats else ""
        text += f"{metrics['work_per_second']:,.0f} {self._unit}s/s"
        self._bars.update(self._bar, completed=progress.epoch + progress.position / count, description=text)

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


class TensorBoard(Reporter):
    """Scalars into event files, against the step: loss, perplexity, bits, gradient norms, work a second.

    Args:
        folder: of the event files.
        unit: what the loss is a mean over, such as "token": names the throughput.
        nats: whether the loss is a cross-entropy, which has a perplexity and bits.
    """

    def __init__(self, folder: Path, unit: str = "token", *, nats: bool = True):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError("TensorBoard files need tensorboardX: pip install 'rnnjax[train]'") from None
        self._writer: Any = SummaryWriter(str(folder))
        self._unit, self._nats = unit, nats

    def __call__(self, progress: Progress, count: int, metrics: dict[str, float]) -> None:
        split = "valid" if "valid_loss" in metrics else "train"
        loss = metrics["valid_loss"] if split == "valid" else metrics["loss"]
        scalars = {f"{split}/loss": loss}
        if self._nats:
            scalars |= {f"{split}/perplexity": perplexity(loss), f"{split}/bits": bits(loss)}
        if split == "train":
            scalars |= {f"train/{name}": metrics[name] for name in ("norm_before", "norm_after", "clipped_share")}
            scalars[f"train/{self._unit}s_per_second"] = metrics["work_per_second"]
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, metrics["step"])

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def perplexity(loss: float) -> float:
    """e^loss, for a loss in nats; infinity where that is too large for a float."""
    return math.inf if loss > 709 else math.exp(loss)


def bits(loss: float) -> float:
    """Bits a character, or whatever the loss in nats is a mean over."""
    return loss / math.log(2)
