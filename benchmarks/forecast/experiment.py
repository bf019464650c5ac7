"""One network on one series, all seeds at once; baselines; and what forecasts are scored by."""

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from jaxtyping import Float

from benchmarks.devices import SEEDS
from benchmarks.errors import UsageError
from benchmarks.forecast.config import Config, Head
from benchmarks.forecast.flow import gradient_curves
from benchmarks.results import Record, digits
from benchmarks.training import WHOLE, Trainable, checkpoints
from rnnjax.models import Forecaster, LeastSquares, Parts, forecast, naive, split
from rnnjax.tasks.forecasting import SERIES, ForecastingData, Split, cut, waves
from rnnjax.tasks.text import DataError
from rnnjax.train import (
    ensemble_loss,
    ensemble_plan,
    example_loss,
    members,
    middle,
    over_examples,
    shuffled,
)
from rnnjax.train.checkpoints import digest

EVALUATED = 500
"""Examples that are evaluated together."""
SHOWN = 3
"""Forecasts that a record holds, for the figure."""
COVERAGE = 0.9
"""What a prediction band shall hold."""


def load(config: Config, data_dir: Path | None) -> ForecastingData:
    """The data of a run."""
    try:
        if config.series == "waves":
            data = waves(config.window, config.horizon, config.examples)
        else:
            data = cut(SERIES[config.series](data_dir), config.window, config.horizon)
    except (DataError, ValueError) as error:
        raise UsageError(f"--series {config.series}: {error}") from None
    if "seasonal-naive" in config.models and data.test.seasonal is None:
        raise UsageError(f"--models: {config.series} has no season: leave out seasonal-naive")
    return data


def seeds_of(config: Config) -> range:
    return range(config.seed, config.seed + config.seeds)


def make_members(config: Config, name: str, head: Head, data: ForecastingData) -> Parts[Forecaster]:
    """A network with all of its seeds side by side."""
    models = [config.make_model(name, head, data, seed) for seed in seeds_of(config)]
    models[0].places(data.window)
    return members([split(model) for model in models])


def measure_flow(config: Config, name: str, data: ForecastingData, folder: Path) -> Record:
    """The gradient norms of a trained network, by the name of its folder, at its best epoch."""
    parts = make_members(config, *config.networks[name], data)
    found, _ = checkpoints(config, folder / name, "best").restore((parts.params, parts.state))
    return gradient_curves(parts.build, found, data.test.stretches[:EVALUATED], data.window)


def make_trainable(config: Config, name: str, head: Head, data: ForecastingData) -> Trainable:
    """A network with its seeds side by side, and the series that they learn."""
    if head == "iterated" and data.outputs < data.variables:
        raise UsageError(
            f"--heads iterated reads its own forecasts, but of the {data.variables} variables of {config.series} "
            f"{data.outputs} is forecast"
        )
    stretches = jnp.asarray(data.train.stretches)
    plans = [shuffled(len(stretches), config.batch_size, seed) for seed in seeds_of(config)]
    parts = make_members(config, name, head, data)

    def loss(model: Forecaster, batch: Array, key: Array) -> tuple[Array, int]:
        return model.errors(batch, data.window).mean(), len(batch)

    on_valid, on_test = (forecaster(parts.build, data, each) for each in (data.valid, data.test))

    def validate(found: Any) -> float:
        return float(middle(errors_of(on_valid(*found)[0], data.targets(data.valid)).mean((1, 2, 3))))

    def test(found: Any) -> Record:
        (valid, all_steps), (forecasts, _) = jax.device_get((on_valid(*found), on_test(*found)))
        record = score(data, valid, forecasts)
        if head == "sequence":
            record["valid_all_steps_mse"] = digits(all_steps.mean(1))
        return record

    return Trainable(
        parts.params,
        parts.state,
        ensemble_loss(example_loss(parts.build, loss)),
        stretches,
        ensemble_plan(plans),
        validate,
        test,
        evaluated=lambda state: (state.best_params, state.carry),
        specs=(SEEDS, WHOLE, PartitionSpec(None, "seeds", "batch")),
        identity={"series": digest(data)},
        members=config.seeds,
    )


def forecaster(build: Callable[..., Forecaster], data: ForecastingData, of: Split) -> Callable[[Any, Any], Any]:
    """`(params, state) ->` the forecasts of a split, and the mean squared error of each example over all its steps."""

    def measure(parts: Any, stretches: Array) -> tuple[Array, Array]:
        model = build(*parts)
        model.eval()
        xs = jnp.swapaxes(stretches[:, : data.window], 0, 1)
        return forecast(model, xs, data.horizon), model.errors(stretches, data.window)

    stretches = jnp.asarray(of.stretches)
    program = over_examples(measure, stretches, min(EVALUATED, len(stretches)))
    return jax.jit(jax.vmap(lambda params, state: program((params, state))))


def baseline(name: str, data: ForecastingData) -> Record:
    """What the record of a simple forecast says."""
    made: list[Any] = [data.valid.seasonal, data.test.seasonal]
    if name == "naive":
        made = [naive(data.inputs(each), data.horizon, data.outputs) for each in (data.valid, data.test)]
    if name == "linear":
        fitted = LeastSquares.fit(data.inputs(data.train), data.targets(data.train))
        made = [fitted(data.inputs(each)) for each in (data.valid, data.test)]
        return {"parameters": fitted.w.size} | score(data, *(each[None] for each in made))
    return {"parameters": 0} | score(data, *(each[None] for each in made))


# --- scores -----------------------------------------------------------------------------------------------------------


def errors_of(forecasts: Any, targets: Any) -> Any:
    """Squared errors, `[members, examples, horizon, outputs]`."""
    return (forecasts - targets) ** 2


def score(
    data: ForecastingData,
    valid: Float[np.ndarray, "members examples horizon outputs"],
    test: Float[np.ndarray, "members examples horizon outputs"],
) -> Record:
    """Errors of every member on scaled values, and those of the ensemble with its prediction bands.

    Forecasts are made at every step of the validation and test splits, from the window of steps before it (walk
    forward), without training anew.
    """
    truth = data.targets(data.test)
    valid_errors, errors = errors_of(valid, data.targets(data.valid)), errors_of(test, truth)
    alive = np.isfinite(valid_errors).all((1, 2, 3)) & np.isfinite(errors).all((1, 2, 3))
    record: Record = {
        "valid_mse": digits(valid_errors.mean((1, 2, 3))),
        "test_mse": digits(errors.mean((1, 2, 3))),
        "test_mae": digits(np.abs(test - truth).mean((1, 2, 3))),
        "test_mse_by_step": digits(errors.mean((1, 3))),
        "diverged": int((~alive).sum()),
        "scale": digits(data.scale),
    }
    if not alive.any():
        return record
    mean, deviation = bands(valid_errors[alive], test[alive])
    half = NormalDist().inv_cdf((1 + COVERAGE) / 2) * deviation
    shown = np.linspace(0, len(truth) - 1, SHOWN).astype(int)

    def units(values: Any) -> Any:
        """Of the first variable, in its own units."""
        return digits(data.mean[0] + data.scale[0] * values[shown, :, 0].astype(np.float64))

    return record | {
        "ensemble_mse": digits(((mean - truth) ** 2).mean()),
        "coverage": digits((np.abs(mean - truth) <= half).mean()),
        "shown": {
            "places": shown.tolist(),
            "before": units(data.inputs(data.test)),
            "truth": units(truth),
            "mean": units(mean),
            "low": units(mean - half),
            "high": units(mean + half),
        },
    }


def bands(
    valid_errors: Float[np.ndarray, "members examples horizon outputs"],
    forecasts: Float[np.ndarray, "members examples horizon outputs"],
) -> tuple[Float[np.ndarray, "examples horizon outputs"], Float[np.ndarray, "examples horizon outputs"]]:
    """Mean and standard deviation of a forecast by all members, each one a normal distribution around its own:

        variance = mean over members of their squared error in validation, by the step ahead
                   + variance of their forecasts

    Source: B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive Uncertainty Estimation using
    Deep Ensembles", 2017 (arXiv:1612.01474), section 2.4, with variances that validation gives.
    """
    variance = valid_errors.mean((0, 1)) + forecasts.var(0)
    return forecasts.mean(0), np.sqrt(variance)
