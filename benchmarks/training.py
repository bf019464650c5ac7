"""What the benchmarks that train models share: the settings of training, and models trained, saved and gone on with."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from cyclopts import Group, Parameter
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from benchmarks.devices import SEEDS, make_mesh, use_devices
from benchmarks.errors import BenchmarkError, Interrupted, UsageError, one_line
from benchmarks.options import Int, check_devices, check_known, check_least
from benchmarks.results import Record, Results, pick
from rnnjax.train import (
    OPTIMIZERS,
    Average,
    CheckpointError,
    Checkpoints,
    Loss,
    Plan,
    Progress,
    ProgressBar,
    Report,
    Rules,
    Stopped,
    TensorBoard,
    TrainState,
    ensemble_optimizer,
    fit,
    make_optimizer,
    make_steps,
    start,
)

RECIPE = "Where an option is not given, the same recipe says."
IN_GROUP = Parameter(group=Group("Training", RECIPE, sort_key=1), show_default=False)


@dataclass(frozen=True)
class Training:
    """The settings of training, which the settings of a benchmark inherit."""

    seed: Annotated[Int, IN_GROUP] = 0
    """Seed of weights, order and dropout."""
    epochs: Annotated[Int, IN_GROUP] = 3
    """Passes over the training data."""
    batch_size: Annotated[Int, IN_GROUP] = 50
    """Sequences that are learned from together."""
    optimizer: Annotated[str, IN_GROUP] = "adam"
    """Optimiser: sgd, momentum, adam, rmsprop."""
    learning_rate: Annotated[float, IN_GROUP] = 1e-3
    """Its learning rate."""
    decay: Annotated[float, IN_GROUP] = 1.0
    """Factor of the learning rate an epoch, after --decay-after."""
    decay_after: Annotated[Int, IN_GROUP] = 0
    """Epochs at the full learning rate, which the first always has."""
    plateau: Annotated[float, IN_GROUP] = 1.0
    """Factor of the learning rate after an epoch without a better validation loss."""
    max_norm: Annotated[float, IN_GROUP] = math.inf
    """Global norm that gradients are clipped to."""
    max_value: Annotated[float, IN_GROUP] = math.inf
    """Largest entry of a gradient: others are clipped, each by itself."""
    weight_decay: Annotated[float, IN_GROUP] = 0.0
    """Share of the weights that is added to their gradients."""
    average_after: Annotated[Int, IN_GROUP] = 0
    """Average the weights once this many epochs have not been better (NT-ASGD); 0: never."""
    patience: Annotated[Int, IN_GROUP] = 0
    """Stop after this many epochs without a better validation loss; 0: never."""
    devices: Annotated[Int | None, IN_GROUP] = None
    """Devices that share out seeds trained together, then the batch. By default all, of a CPU one: it is faster."""

    def check_training(self) -> None:
        """Raises a `UsageError` that names the option for the first setting that is out of range."""
        check_known("--optimizer", [self.optimizer], OPTIMIZERS)
        check_devices(self.devices)
        for name in ("epochs", "batch-size"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 1)
        for name in ("seed", "decay-after", "average-after", "patience"):
            check_least(f"--{name}", getattr(self, name.replace("-", "_")), 0)
        for name in ("learning-rate", "decay", "plateau", "max-norm", "max-value"):
            value = getattr(self, name.replace("-", "_"))
            if not value > 0 or (math.isinf(value) and not name.startswith("max")):
                raise UsageError(f"--{name} must be a positive number, got {value}")
        if max(self.max_norm, self.max_value) < math.inf:
            raise UsageError(f"--max-norm {self.max_norm:g} and --max-value {self.max_value:g}: set one of them to inf")
        for name in ("decay", "plateau"):
            if getattr(self, name) > 1:
                raise UsageError(f"--{name} must be at most 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"--weight-decay must be at least 0, got {self.weight_decay}")

    def rate(self, steps: int) -> Callable[[Any], Any]:
        """The learning rate of a step, with so many steps an epoch; a plateau multiplies it."""

        def rate(step: Any) -> Any:
            return self.learning_rate * self.decay ** jnp.maximum(step // steps + 1 - max(self.decay_after, 1), 0)

        return rate

    def use_devices(self) -> None:
        """Makes a CPU as many devices as are asked for; has to run before JAX starts."""
        use_devices(self.devices or 1, seeds=1)

    def mesh(self, members: int = 1) -> Mesh | None:
        """The devices that share out models side by side, the axis "seeds", and then a batch; None for one."""
        everywhere = 1 if jax.default_backend() == "cpu" else jax.local_device_count()
        mesh = make_mesh(members, self.batch_size, self.devices or everywhere)
        return mesh if mesh.size > 1 else None

    def make_optimizer(self, steps: int) -> optax.GradientTransformation:
        """Clipping, weight decay and the optimiser, with so many steps an epoch."""
        return make_optimizer(
            self.optimizer,
            self.rate(steps),
            max_norm=self.max_norm,
            max_value=None if math.isinf(self.max_value) else self.max_value,
            weight_decay=self.weight_decay,
        )

    @property
    def rules(self) -> Rules:
        return Rules(
            self.epochs,
            plateau_factor=self.plateau if self.plateau < 1 else None,
            patience=self.patience or None,
            average_after=self.average_after or None,
        )


@dataclass(frozen=True)
class RunOptions:
    """What a command that trains models is told beside its settings: folders, and what is kept of the run."""

    out: Path = Path("results")
    """Folder that the results folder is made in."""
    data_dir: Path | None = None
    """Folder of the data; what is not in it is fetched if it may be. By default the one that RNNJAX_DATA names."""
    keep: Int = 3
    """Checkpoints to keep of each model, beside the best one."""
    tensorboard: bool = False
    """Write TensorBoard event files too."""
    resume: Path | None = None
    """Results folder of an interrupted run to go on with; its settings are taken over."""

    def check(self) -> None:
        """Raises a `UsageError` that names the option for the first one that is out of range."""
        check_least("--keep", self.keep, 1)


@dataclass(frozen=True)
class FlowOptions(RunOptions):
    """Those of a command that measures the gradient flow of its models when asked."""

    flow: bool = False
    """Measure the gradient's norm at every step of the trained models too; with --resume, of those trained before."""


def from_saved(settings: Mapping[str, Any], config: type) -> Any:
    """A benchmark's settings out of its config.json, which has no infinities and no tuples."""
    plain = {name: float(value) if value == "inf" else value for name, value in settings.items()}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()})


BATCH = PartitionSpec("batch")
WHOLE: Any = PartitionSpec()
"""On every device."""


@dataclass(frozen=True)
class Trainable:
    """A model, and what it is trained on."""

    params: Any
    carry: Any
    """At the first step."""
    loss: Loss
    data: Any
    plan: Callable[[int], Plan]
    validate: Callable[[Any], float]
    """The validation loss of what `evaluated` gives."""
    test: Callable[[Any], Record]
    """What the record of the result says of the best model."""
    evaluated: Callable[[TrainState], Any] = lambda state: state.best_params
    specs: tuple[Any, Any, Any] = (WHOLE, WHOLE, PartitionSpec(None, "batch"))
    """Where the axes of the batch, "batch", and of members, "seeds", are in carry, data and items: prefixes of the
    trees."""
    identity: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What a checkpoint has to be of, beside the settings: the digest of the data."""
    members: int | None = None
    """Models that are trained side by side (`rnnjax.train.ensemble`): the leading axis of params and carry."""

    def of_state(self, state: TrainState) -> Any:
        """Where the axes are in what training changes: members have their own parameters and moments."""
        own = WHOLE if self.members is None else SEEDS
        average = state.average and Average(steps=WHOLE, params=own)
        return TrainState(own, own, self.specs[0], WHOLE, WHOLE, WHOLE, WHOLE, average)


def checked(name: str, make: Callable[[], Trainable]) -> Trainable:
    """What `make` gives, once its loss has been traced: what is wrong with a model is said before anything is written.

    Args:
        name: what the model is called in the error, such as "--cell gru".
        make: the model, and what it is trained on.
    """
    try:
        trainable = make()
        item = jax.tree.map(lambda leaf: leaf[0], trainable.plan(0).items)
        jax.eval_shape(trainable.loss, trainable.params, trainable.carry, trainable.data, item, jax.random.key(0))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: {one_line(error)}") from None
    return trainable


def checkpoints(config: Training, folder: Path, kind: str, keep: int = 1, **identity: str) -> Checkpoints:
    """Those of a model in its folder; they hold what the run is, so that no other one goes on from them."""
    settings = {name: repr(value) for name, value in dataclasses.asdict(config).items()}
    return Checkpoints(folder / kind, settings | {"name": folder.name} | identity, keep=keep)


def train_one(
    config: Training, trainable: Trainable, folder: Path, keep: int, report: Report
) -> tuple[list[dict[str, float]], Record]:
    """Trains, from the last checkpoint in the folder if there is one; the metrics of all epochs, and the result."""
    saved = checkpoints(config, folder, "checkpoints", keep, **trainable.identity)
    best = checkpoints(config, folder, "best")
    optimizer = config.make_optimizer(trainable.plan(0).steps)
    if trainable.members is not None:
        optimizer = ensemble_optimizer(optimizer)
    key = jax.random.key(config.seed)
    state = start(trainable.params, optimizer, key, trainable.carry, average=config.average_after > 0)
    like = jax.tree.map(jnp.copy, trainable.evaluated(state))  # of the best checkpoint: the state itself is used up
    progress = Progress()
    if saved.steps:
        state, data = saved.restore(state)
        progress = Progress(**data)
    data, plan = trainable.data, trainable.plan
    mesh = config.mesh(trainable.members or 1)
    if mesh is not None:
        _, of_data, of_items = trainable.specs
        state, data = spread(state, trainable.of_state(state), mesh), spread(data, of_data, mesh)

        def plan(epoch: int) -> Plan:
            whole = trainable.plan(epoch)
            return whole._replace(items=spread(whole.items, of_items, mesh))

    _, progress = fit(
        make_steps(trainable.loss, optimizer),
        state,
        data,
        plan,
        trainable.validate,
        config.rules,
        progress=progress,
        checkpoints=saved,
        best=best,
        evaluated=trainable.evaluated,
        report=report,
    )
    result: Record = {
        "status": "diverged" if progress.diverged else "ok",
        "diverged_at": progress.diverged_at,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trainable.params)) // (trainable.members or 1),
        "epoch": None,
        "valid_loss": math.nan,
    }
    if best.steps:
        found, about = best.restore(like)
        result |= {"epoch": about["epoch"], "valid_loss": progress.best, **trainable.test(found)}
    return progress.history, result


def spread(tree: Any, specs: Any, mesh: Mesh) -> Any:
    """A tree of arrays, placed on a mesh as a prefix of PartitionSpecs says."""
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda node: isinstance(node, PartitionSpec)
    )
    return jax.device_put(tree, shardings)


def entitled(result: Record) -> str:
    """The cell of a result, and at which step it diverged if it did."""
    cell: str = result["cell"]
    return cell if result["status"] == "ok" else f"{cell} ({result['status']} at step {result['diverged_at']})"


# --- the command around it --------------------------------------------------------------------------------------------


@contextmanager
def resumable(results: Results, command: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM inside say how to go on; a checkpoint that cannot be used is an error of one line."""
    try:
        yield
    except (Stopped, KeyboardInterrupt):
        raise Interrupted(
            f"Interrupted; the last checkpoint is in {results.folder}. "
            f"Go on with: python -m benchmarks {command} --resume {results.folder}"
        ) from None
    except CheckpointError as error:
        raise BenchmarkError(str(error)) from None


def train_and_record(
    console: Console,
    config: Training,
    names: Sequence[str],
    make: Callable[[str], Trainable],
    make_records: Callable[[str, Sequence[Mapping[str, float]], Record | None], Iterable[Record]],
    results: Results,
    options: RunOptions,
    *,
    field: str = "cell",
    unit: str = "example",
    nats: bool = True,
) -> None:
    """Trains the model of each name that has no result yet, and keeps its records up to date, epoch by epoch.

    Args:
        console: for the progress bar.
        config: the settings of training.
        names: of the models; a folder each.
        make: the model of a name.
        make_records: `(name, metrics of the epochs, result) -> records`; the result is None until the model is trained.
            Records have the name in `field`, and "kind" is "result" in that of the result.
        results: the folder.
        options: of the command line.
        field: see make_records.
        unit: what losses are means over, in the singular.
        nats: whether they are cross-entropies, which have a perplexity.
    """
    for name in names:
        if not pick(results.read(), **{field: name, "kind": "result"}):
            folder = results.folder / name
            with ExitStack() as stack:
                reports: list[Any] = [
                    stack.enter_context(ProgressBar(config.epochs, name, unit=unit, nats=nats, console=console)),
                ]
                if options.tensorboard:
                    reports.append(stack.enter_context(TensorBoard(folder / "tensorboard", unit, nats=nats)))

                def write(history: Any, result: Record | None = None, name: str = name) -> None:
                    others = [record for record in results.read() if record[field] != name]
                    results.keep([*others, *make_records(name, history, result)])

                def report(*event: Any, reports: Any = reports, write: Any = write) -> None:
                    for each in reports:
                        each(*event)
                    progress, _, metrics = event
                    if "valid_loss" in metrics:
                        write(progress.history)

                write(*train_one(config, make(name), folder, options.keep, report))
