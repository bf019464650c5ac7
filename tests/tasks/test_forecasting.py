"""Series to forecast: the book's waves bit for bit, real series as published, and splits that do not leak."""

import gzip
import hashlib
import os

import numpy as np
import pytest

from rnnjax.models import LeastSquares, naive
from rnnjax.tasks import forecasting
from rnnjax.tasks.forecasting import SERIES, Series, cut, generate_waves, waves
from rnnjax.tasks.text import DataError, fetch


@pytest.mark.parametrize(("horizon", "published", "linear"), [(1, 0.020211367, 0.00293), (10, 0.256974, 0.01549)])
def test_waves_are_those_of_the_book(horizon, published, linear):
    """The validation MSE of the last value and of least squares: Hands-On Machine Learning, 2nd ed., chapter 15."""
    data = waves(50, horizon)
    assert [len(split.stretches) for split in (data.train, data.valid, data.test)] == [7000, 2000, 1000]
    targets = data.targets(data.valid)
    np.testing.assert_allclose(
        np.square(naive(data.inputs(data.valid), horizon, 1) - targets).mean(), published, rtol=1e-6
    )
    fitted = LeastSquares.fit(data.inputs(data.train), data.targets(data.train))
    np.testing.assert_allclose(np.square(fitted(data.inputs(data.valid)) - targets).mean(), linear, atol=5e-6)
    assert fitted.w.size == 51 * horizon


def test_noise_of_the_waves_has_the_published_variance():
    """What is left of the formula is 0.1 (u - 0.5), of variance 8.33e-4."""
    random = np.random.RandomState(0)
    f1, f2, o1, o2 = random.rand(4, 500, 1)
    times = np.linspace(0, 1, 40)
    clean = 0.5 * np.sin((times - o1) * (10 * f1 + 10)) + 0.2 * np.sin((times - o2) * (20 * f2 + 20))
    noise = generate_waves(np.random.RandomState(0), 500, 40)[..., 0] - clean
    assert np.abs(noise).max() <= 0.05 + 1e-6
    np.testing.assert_allclose(noise.var(), 8.33e-4, rtol=0.02)


def made_up():
    """Two variables of 40 steps, of which the first, a sawtooth of 4 steps that climbs, is forecast."""
    time = np.arange(40.0)
    return Series(np.stack([10 * (time % 4) + time, 100 - time], 1), 1, 4, (20, 30, 40))


def test_splits_are_in_order_and_scaled_on_the_training_split_alone():
    series, window, horizon = made_up(), 6, 3
    data = cut(series, window, horizon)
    train = series.values[:20]
    np.testing.assert_allclose([data.mean[0], data.scale[0]], [train[:, 0].mean(), train[:, 0].std()])
    seen = []
    for split in (data.train, data.valid, data.test):
        raw = split.stretches * train.std(0) + train.mean(0)
        starts = np.rint(100 - raw[:, 0, 1]).astype(int)  # the second variable tells the time
        np.testing.assert_allclose(raw, series.values[starts[:, None] + np.arange(window + horizon)], atol=1e-4)
        seen.append({start + window + ahead for start in starts for ahead in range(horizon)})
    assert seen == [set(range(6, 20)), set(range(20, 30)), set(range(30, 40))]
    changed = series._replace(values=np.concatenate([train, 1e6 + series.values[20:]]))
    np.testing.assert_array_equal(cut(changed, window, horizon).train.stretches, data.train.stretches)


def test_seasonal_forecast_repeats_the_last_season():
    """Over more steps than a season too; of the sawtooth, it is wrong by what it has climbed since."""
    data = cut(made_up(), 6, 6)
    errors = (data.targets(data.test) - data.test.seasonal) * data.scale
    np.testing.assert_allclose(errors[..., 0], np.broadcast_to([4, 4, 4, 4, 8, 8], errors.shape[:2]), atol=1e-4)
    assert data.train.seasonal is None
    assert waves(5, 2, 20).test.seasonal is None


def test_what_cannot_be_cut():
    series = made_up()
    with pytest.raises(ValueError, match="training split, steps 15 to 20, is too short for a window of 15 and a horiz"):
        cut(series, 15, 6)
    with pytest.raises(ValueError, match="validation split, steps 20 to 30, is too short"):
        cut(series, 2, 11)
    with pytest.raises(ValueError, match="variable 1 of the series is constant in the training split"):
        cut(series._replace(values=series.values * [1, 0]), 4, 2)
    with pytest.raises(ValueError, match="a training split of 20 steps is shorter than a season of 30"):
        cut(series._replace(season=30), 4, 2)
    with pytest.raises(ValueError, match="count must be an integer of at least 10, got 9"):
        waves(count=9)


def test_sunspots_come_with_a_package():
    """Of the years 1700, 1957 (the highest) and 2008, as the Royal Observatory of Belgium has them."""
    pytest.importorskip("statsmodels")
    series = SERIES["sunspots"](None)
    values = series.values[:, 0]
    assert len(values) == 309
    assert (values[0], values[257], values[308]) == (5.0, 190.2, 2.9)
    assert np.argmax(values) == 257
    assert series.borders == (185, 247, 309)


def test_table_that_is_none_is_one_line(tmp_path):
    folder = tmp_path / "timeseries"
    folder.mkdir()
    (folder / "airline-passengers.csv").write_text('"Month","Passengers"\n"1949-01",many\n')
    with pytest.raises(DataError, match=r"airline-passengers.csv is not a table of numbers as expected: .*many"):
        SERIES["airline"](tmp_path)


COUNTS = {
    "airline": (144, 1, 112.0),
    "temperature": (3650, 1, 20.7),
    "etth1": (17420, 7, 30.531),
    "exchange": (7588, 8, 0.7855),
}


@pytest.mark.skipif("RNNJAX_DATA" not in os.environ, reason="no data folder")
@pytest.mark.parametrize("name", COUNTS)
def test_published_counts(name):
    series = SERIES[name](None)
    length, variables, first = COUNTS[name]
    assert series.values.shape == (length, variables)
    np.testing.assert_allclose(series.values[0, 0], first, rtol=1e-6)
    assert series.outputs == (8 if name == "exchange" else 1)
    assert np.isfinite(series.values).all()


@pytest.mark.slow
@pytest.mark.skipif("RNNJAX_DATA" not in os.environ, reason="no data folder")
def test_checksums_are_those_of_the_files():
    for source in (forecasting.AIRLINE, forecasting.TEMPERATURE, forecasting.ETTH1, forecasting.EXCHANGE):
        path = fetch(source)
        content = path.read_bytes()
        if path.suffix == ".gz" and not source.name.endswith(".gz"):
            content = gzip.decompress(content)
        assert hashlib.sha256(content).hexdigest() == source.sha256
