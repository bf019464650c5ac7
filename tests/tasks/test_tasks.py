"""One battery over every registered task, and what each of them publishes about its sequences."""

import math
from functools import cache

import chex
import jax
import numpy as np
import pytest

import rnnjax
from rnnjax.tasks import TASKS, ClassificationTask
from tests.support import sampler

LENGTH, BATCH = 100, 4096
KEY = jax.random.key(0)


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return TASKS[name](LENGTH)


sample = sampler(lambda task, key, batch_size: task.sample(key, batch_size), static_argnums=(0, 2))
score = jax.jit(lambda task, outputs, batch: task.loss(outputs, batch), static_argnums=0)


@cache
def numpy_batch(task):
    return jax.device_get(sample(task, KEY, BATCH))


def trivial_adding(mean):
    return lambda batch: np.full(batch.targets.shape, mean)


def trivial_order(classes):
    return lambda batch: np.zeros((*batch.targets.shape, classes))


def trivial_copy(batch):
    """Zeros until the digits are due, then every digit alike."""
    outputs = np.full((*batch.targets.shape, 9), -1e9)
    outputs[:-10, :, 0] = 0
    outputs[-10:, :, 1:] = 0
    return outputs


TRIVIAL = {
    "adding-1997": trivial_adding(0.5),
    "adding-pascanu": trivial_adding(0.5),
    "adding-arjovsky": trivial_adding(1.0),
    "adding-bai": trivial_adding(1.0),
    "copy-memory": trivial_copy,
    "temporal-order-6a": trivial_order(4),
    "temporal-order-6b": trivial_order(8),
}


def oracle_adding(combine):
    """Reads the two values with marker 1; an unmarked first one (its pair kept the marker -1) counts as zero."""
    return lambda inputs, length: combine((inputs[:length, 0] * (inputs[:length, 1] == 1)).sum())


def oracle_copy(inputs, length):
    symbols = inputs.argmax(-1)
    assert symbols[length - 11] == 9
    return np.concatenate([np.zeros(length - 10, int), symbols[:10]])


def oracle_order(inputs, length):
    relevant = [symbol for symbol in inputs[:length].argmax(-1) if symbol >= 6]
    return sum((symbol - 6) * 2**place for place, symbol in enumerate(relevant))


ORACLE = {
    "adding-1997": oracle_adding(lambda total: 0.5 + total / 4),
    "adding-pascanu": oracle_adding(lambda total: total / 2),
    "adding-arjovsky": oracle_adding(lambda total: total),
    "adding-bai": oracle_adding(lambda total: total),
    "copy-memory": oracle_copy,
    "temporal-order-6a": oracle_order,
    "temporal-order-6b": oracle_order,
}


def test_trivial_predictor_scores_the_baseline(name, task):
    """To within four standard errors of the mean; exactly, where the score does not depend on the draw."""
    assert name in TRIVIAL, f"task {name!r} has no trivial predictor in {__file__}"
    batch = numpy_batch(task)
    scores = np.asarray(score(task, TRIVIAL[name](batch).astype(np.float32), batch))
    assert scores.shape == (BATCH,)
    error = scores.std() / math.sqrt(BATCH)
    assert abs(scores.mean() - task.baseline) < 4 * error + 1e-6 * task.baseline


def test_oracle_scores_full_marks(name, task):
    """Someone who remembers everything, and reads the inputs alone, makes no error."""
    assert name in ORACLE, f"task {name!r} has no oracle in {__file__}"
    batch = numpy_batch(task)
    answers = [ORACLE[name](batch.inputs[:, i], length) for i, length in enumerate(batch.lengths)]
    answers = np.broadcast_to(np.stack(answers, -1), (task.max_length, BATCH))
    if isinstance(task, ClassificationTask):
        outputs = 50 * np.eye(task.output_size, dtype=np.float32)[answers]
    else:
        outputs = answers[..., None].astype(np.float32)
    np.testing.assert_allclose(score(task, outputs, batch), 0, atol=1e-12)


def test_batch_is_what_the_task_declares(name, task):
    batch = numpy_batch(task)
    chex.assert_shape(batch.inputs, (task.max_length, BATCH, task.input_size))
    chex.assert_shape([batch.weights, batch.lengths], [(task.max_length, BATCH), (BATCH,)])
    np.testing.assert_allclose(batch.weights.sum(0), 1, rtol=1e-5)
    padding = np.arange(task.max_length)[:, None] >= batch.lengths
    assert not np.any(batch.inputs[padding])
    assert not np.any(batch.weights[padding])
    if isinstance(task, ClassificationTask):
        chex.assert_shape(batch.targets, (task.max_length, BATCH))
        assert batch.targets.min() >= 0
        assert batch.targets.max() < task.output_size
    else:
        chex.assert_shape(batch.targets, (task.max_length, BATCH, task.output_size))


def test_sampling_is_a_pure_function_of_the_key(name):
    task = TASKS[name](TASKS[name].min_length)  # the shortest there is must work too
    keys = jax.random.split(KEY, 3)
    batches = [jax.device_get(sample(task, key, 5)) for key in keys]
    chex.assert_trees_all_equal(batches[0], sample(task, keys[0], 5))
    assert np.any(batches[0].inputs != batches[1].inputs)
    together = sampler(jax.vmap(lambda key: task.sample(key, 5)))(keys)
    chex.assert_trees_all_equal(together, jax.tree.map(lambda *leaves: np.stack(leaves), *batches))


def test_length_below_the_minimum(name):
    least = TASKS[name].min_length
    for length in (least - 1, float(least)):
        with pytest.raises(ValueError, match=rf"^length of .* must be an integer of at least {least}, got {length}$"):
            TASKS[name](length)


def assert_uniform(values, low, high):
    """Every integer from `low` to `high` occurs, about equally often, and no other."""
    values = np.asarray(values).ravel()
    counts = np.bincount(values - low, minlength=high - low + 1)
    assert values.min() == low
    assert values.max() == high
    expected = len(values) / len(counts)
    statistic = ((counts - expected) ** 2 / expected).sum()  # chi-square: mean k - 1, variance 2 (k - 1)
    freedom = len(counts) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


def places_of(batch, marker=1):
    """The places of a marker in every sequence, `[marks, batch]`."""
    places = [np.flatnonzero(column == marker) for column in batch.inputs[..., 1].T]
    return np.array([p if len(p) == 2 else np.full(2, -1) for p in places]).T


def test_adding_1997_sequences():
    batch = numpy_batch(rnnjax.tasks.Adding1997(LENGTH))
    values, markers = batch.inputs[..., 0], batch.inputs[..., 1]
    assert_uniform(batch.lengths, 100, 110)
    columns = np.arange(BATCH)
    assert np.all(markers[0] == -1)
    assert np.all(markers[batch.lengths - 1, columns] == -1)
    assert np.all((markers == -1).sum(0) == 2)
    # One of the first ten pairs is marked, in a tenth of the sequences the first one, which then stays -1.
    count = (markers == 1).sum(0)
    assert set(count) == {1, 2}
    assert abs(np.mean(count == 1) - 0.1) < 4 * math.sqrt(0.09 / BATCH)
    assert np.all(markers[:10].max(0)[count == 2] == 1)
    # The other is one of the first T/2 - 1 that are then unmarked: pairs 1 to 49, or to 50 past the one marked before.
    assert_uniform(markers[:, count == 1].argmax(0), 1, 49)
    assert np.flatnonzero((markers[:, count == 2] == 1).any(1)).max() == 50
    real = values[np.arange(len(values))[:, None] < batch.lengths]
    assert -1 <= real.min() < -0.999
    assert 0.999 < real.max() <= 1
    np.testing.assert_allclose([real.mean(), real.var()], [0, 1 / 3], atol=0.01)


def test_adding_pascanu_sequences():
    batch = numpy_batch(rnnjax.tasks.AddingPascanu(LENGTH))
    assert_uniform(batch.lengths, 100, 109)
    first, second = places_of(batch)
    assert np.all(first < batch.lengths // 10)
    assert np.all((second >= batch.lengths // 10) & (second < batch.lengths // 2))
    short = batch.lengths < 110
    assert_uniform(first[short], 0, 9)


def test_adding_arjovsky_sequences():
    batch = numpy_batch(rnnjax.tasks.AddingArjovsky(LENGTH))
    assert np.all(batch.lengths == LENGTH)
    first, second = places_of(batch)
    assert_uniform(first, 0, 49)
    assert_uniform(second, 50, 99)


def test_adding_bai_sequences():
    """Any two distinct steps: every pair of steps is as likely as every other."""
    batch = numpy_batch(rnnjax.tasks.AddingBai(5))
    first, second = places_of(batch)
    assert np.all(first < second)
    pairs = {pair: place for place, pair in enumerate((a, b) for a in range(5) for b in range(a + 1, 5))}
    assert_uniform([pairs[pair] for pair in zip(first.tolist(), second.tolist(), strict=True)], 0, 9)


def test_copy_memory_sequences():
    batch = numpy_batch(rnnjax.tasks.CopyMemory(LENGTH))
    symbols = batch.inputs.argmax(-1)
    assert_uniform(symbols[:10], 1, 8)
    assert not np.any(symbols[10 : LENGTH + 9])  # T - 1 zeros
    assert np.all(symbols[LENGTH + 9] == 9)
    assert not np.any(symbols[LENGTH + 10 :])
    assert len(symbols) == LENGTH + 20
    assert not np.any(batch.targets[:-10])


@pytest.mark.parametrize(
    ("length", "published"),
    [(100, 0.17329), (200, 0.09452), (300, 0.06498), (500, 0.03999), (1000, 0.02039), (2000, 0.01029)],
)
def test_copy_memory_baseline_is_the_published_one(length, published):
    np.testing.assert_allclose(rnnjax.tasks.CopyMemory(length).baseline, published, atol=5e-6)


@pytest.mark.parametrize(
    ("name", "windows"),
    [("temporal-order-6a", [(10, 20), (50, 60)]), ("temporal-order-6b", [(10, 20), (33, 43), (66, 76)])],
)
def test_temporal_order_sequences(name, windows):
    batch = numpy_batch(TASKS[name](LENGTH))
    symbols = batch.inputs.argmax(-1)
    assert_uniform(batch.lengths, 100, 110)
    assert_uniform(batch.targets[0], 0, 2 ** len(windows) - 1)
    assert np.all(symbols[0] == 4)
    assert np.all(symbols[batch.lengths - 1, np.arange(BATCH)] == 5)
    real = np.arange(len(symbols))[:, None] < batch.lengths
    np.testing.assert_array_equal(batch.inputs.sum(-1), real)
    places = np.array([np.flatnonzero(column >= 6) for column in (symbols * real).T]).T
    for place, window in zip(places, windows, strict=True):
        assert_uniform(place, *window)
    noise = symbols[real & (symbols < 4)]
    assert_uniform(noise, 0, 3)


@pytest.mark.parametrize(
    ("name", "published"),
    [("adding-pascanu", 1 / 24), ("adding-arjovsky", 1 / 6), ("adding-bai", 1 / 6), ("temporal-order-6a", math.log(4))],
)
def test_published_baselines(name, published):
    assert TASKS[name](LENGTH).baseline == pytest.approx(published, rel=1e-12)


def test_adding_1997_baseline_is_the_published_one_but_for_the_unmarked_first_pair():
    """1/24 is (1/3 + 1/3) / 16; X1 := 0 in a tenth of the sequences takes a tenth of the first term away."""
    assert rnnjax.tasks.Adding1997(LENGTH).baseline == pytest.approx((0.9 / 3 + 1 / 3) / 16, rel=1e-12)
