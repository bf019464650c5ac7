import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnjax import flow

LAGS = np.array([1, 3, 10, 30, 100])


@pytest.mark.usefixtures("x64")
def test_summaries_of_an_exponential():
    """norm = 7 exp(-r lag), a rate for each seed: r, ln 2 / r and -99 r."""
    rates = np.array([0.3, 0.0, -0.2])
    log_norms = jnp.asarray(np.log(7) - np.outer(LAGS, rates))
    rate = flow.decay_rate(LAGS, log_norms)
    np.testing.assert_allclose(rate, rates, atol=1e-14)
    np.testing.assert_allclose(flow.half_life(jnp.asarray(rates)), [np.log(2) / 0.3, np.inf, np.inf], rtol=1e-7)
    np.testing.assert_allclose(flow.log_norm_ratio(LAGS, log_norms), -99 * rates, atol=1e-12)
    np.testing.assert_allclose(flow.log_norm_ratio(LAGS[::-1], log_norms[::-1]), -99 * rates, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_decay_rate_is_the_least_squares_slope():
    log_norms = np.random.RandomState(0).standard_normal((5, 2, 3))
    want = -np.polyfit(LAGS, log_norms.reshape(5, 6), 1)[0].reshape(2, 3)
    np.testing.assert_allclose(flow.decay_rate(LAGS, jnp.asarray(log_norms)), want, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_points_that_are_zero_or_unknown_are_left_out():
    log_norms = np.array([-0.5, -1.5, -5.0, -np.inf, np.nan])
    np.testing.assert_allclose(flow.decay_rate(LAGS, jnp.asarray(log_norms)), 0.5, rtol=1e-12)
    for known in 0, 1:
        rate = flow.decay_rate(LAGS, jnp.asarray(np.where(np.arange(5) < known, log_norms, -np.inf)))
        assert np.isnan(rate)
        assert np.isnan(flow.half_life(rate))


@pytest.mark.parametrize(("statistic", "confidence"), [(np.median, 0.95), (np.mean, 0.8)])
def test_bootstrap_is_that_of_scipy(statistic, confidence):
    values = np.random.RandomState(1).normal([0.0, 5.0], size=(25, 2))
    got = flow.bootstrap(jax.random.key(0), values, statistic, confidence=confidence, resamples=20000)
    want = stats.bootstrap(
        (values,), statistic, axis=0, confidence_level=confidence, method="percentile", n_resamples=20000, rng=0
    )
    np.testing.assert_allclose(got.value, statistic(values, axis=0), rtol=1e-6)
    np.testing.assert_allclose(got.low, want.confidence_interval.low, atol=0.02)
    np.testing.assert_allclose(got.high, want.confidence_interval.high, atol=0.02)


def test_bootstrap_band_covers_the_truth_as_often_as_it_says():
    """The mean of 40 normal values: 90 per cent of bands hold it; 300 bands, three standard errors of the share."""
    values = np.random.RandomState(2).standard_normal((40, 300))
    band = flow.bootstrap(jax.random.key(1), values, np.mean, confidence=0.9)
    share = np.mean((band.low < 0) & (band.high > 0))
    assert abs(share - 0.9) < 3 * np.sqrt(0.9 * 0.1 / 300)


def test_bootstrap_of_curves_that_reach_zero():
    """Logarithms of exact zeros stay minus infinity, in the band too, and never turn into NaN."""
    values = np.stack([np.zeros(20), np.where(np.arange(20) < 10, -np.inf, 1.0), np.full(20, -np.inf)], 1)
    band = flow.bootstrap(jax.random.key(0), values)
    np.testing.assert_array_equal(band.value, [0, -np.inf, -np.inf])
    np.testing.assert_array_equal(band.low, [0, -np.inf, -np.inf])
    np.testing.assert_array_equal(band.high, [0, 1, -np.inf])
