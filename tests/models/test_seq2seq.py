"""Encoder-decoder models: one step at a time and all at once, garbage in the padding, one batch by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import rnnjax
from rnnjax.models import Decoder, Encoded, Sentences, captioner, gradient_flow, seq2seq, split
from rnnjax.models.captioner import patches
from rnnjax.models.seq2seq import START, shifted
from tests.support import normal_like, slow_unless

SIZES = 7, 6
RANDOM = np.random.RandomState(0)
SOURCES = Sentences(jnp.asarray(RANDOM.randint(0, 7, (5, 3))), jnp.array([5, 2, 3]))
TARGETS, LENGTHS = jnp.asarray(RANDOM.randint(1, 6, (4, 3))), jnp.array([4, 1, 3])


def make(**settings):
    """A model with every weight drawn at random."""
    model = seq2seq(*SIZES, hidden_size=4, embedding_size=3, rngs=nnx.Rngs(0), **settings)
    params, _, build = split(model)
    return build(jax.tree.map(jnp.asarray, normal_like(params, 1, 0.5)))


MODELS = {
    "plain": {"cell": "rnn"},
    "peeky": {"cell": "gru", "summary_to": "both"},
    "additive": {"cell": "gru", "attention": "additive", "bidirectional": True},
    "multiplicative": {"cell": "rnn", "attention": "multiplicative"},
}


@pytest.mark.parametrize("name", slow_unless(("multiplicative",), MODELS))
def test_steps_are_the_whole_and_the_padding_does_not_matter(name):
    """p of a sequence step by step, from source and target cut to their own lengths, is that of the padded batch."""
    model = make(**MODELS[name])
    params, _, build = split(model)
    garbage = Sentences(jnp.where(jnp.arange(5)[:, None] < SOURCES.lengths, SOURCES.tokens, 6), SOURCES.lengths)
    filled = jnp.where(jnp.arange(4)[:, None] < LENGTHS, TARGETS, 5)

    @jax.jit
    def whole(params):
        model = build(params)
        return model.log_probability(garbage, filled, LENGTHS), model.loss(garbage, filled, LENGTHS)

    @jax.jit
    def steps(params, source, target):
        model = build(params)
        position, total = model.decoder.start(model.encoder(Sentences(source, jnp.array([len(source)])))), 0.0
        for token, wanted in zip(jnp.concatenate([jnp.full((1, 1), START), target]), target, strict=False):
            position, logits = model.decoder.step(position, token)
            total += jax.nn.log_softmax(logits)[0, wanted[0]]
        return total

    log_p, loss = whole(params)
    np.testing.assert_allclose(steps(params, SOURCES.tokens[:3, 2:], TARGETS[:3, 2:]), log_p[2], rtol=1e-5)
    np.testing.assert_allclose(loss, -log_p.sum() / LENGTHS.sum(), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "additive", "multiplicative"])
def test_learns_one_batch_by_heart(name):
    params, _, build = split(make(**MODELS[name]))
    optimizer = optax.adam(0.05)

    @jax.jit
    def train(params):
        def step(state, _):
            params, opt = state
            loss, gradient = jax.value_and_grad(lambda p: build(p).loss(SOURCES, TARGETS, LENGTHS))(params)
            updates, opt = optimizer.update(gradient, opt)
            return (optax.apply_updates(params, updates), opt), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), length=150)[1]

    losses = train(params)
    assert losses[0] > 1
    assert losses[-1] < 0.05


@pytest.mark.slow
def test_scheduled_sampling():
    """A token's input is the true one as often as it is said, and else one that the model draws."""
    model = make(cell="rnn")
    params, _, build = split(model)
    batch, time = 4000, 3
    sources = Sentences(jnp.zeros((1, batch), int), jnp.ones(batch, int))
    tokens = jnp.full((time, batch), 2).at[0].set(START)

    @jax.jit
    def draw(params, ratio):
        model = build(params)
        position = model.decoder.start(model.encoder(sources))
        _, logits = model.decoder.step(position, tokens[0])
        return model.decoder.mixed(position, tokens, ratio, jax.random.key(0)), jax.nn.softmax(logits[0])

    mixed, p = draw(params, 0.7)
    assert np.all(mixed[0] == START)
    counts = np.bincount(mixed[1], minlength=SIZES[1]) / batch
    np.testing.assert_allclose(counts, 0.3 * p + 0.7 * (np.arange(SIZES[1]) == 2), atol=0.025)
    np.testing.assert_array_equal(draw(params, 1.0)[0], tokens)


@pytest.mark.slow
def test_scheduled_sampling_changes_the_loss_of_training_alone():
    model = make(cell="rnn")
    key = jax.random.key(0)
    plain = model.loss(SOURCES, TARGETS, LENGTHS)
    assert model.loss(SOURCES, TARGETS, LENGTHS, key, teacher_forcing=1.0) == plain
    assert model.loss(SOURCES, TARGETS, LENGTHS, key, teacher_forcing=jnp.zeros(())) != plain
    assert model.loss(SOURCES, TARGETS, LENGTHS, teacher_forcing=jnp.zeros(())) == plain


@pytest.mark.slow
def test_dropout_is_of_training_alone():
    model = make(cell="rnn", dropout=0.5)
    plain = model.loss(SOURCES, TARGETS, LENGTHS)
    drawn = [model.loss(SOURCES, TARGETS, LENGTHS, jax.random.key(seed)) for seed in range(2)]
    assert len({float(loss) for loss in (plain, *drawn)}) == 3


FLOWS = {
    "bidirectional": {"layers": 2, "bidirectional": True, "cell": "rnn"},
    "additive": {"attention": "additive", "cell": "rnn"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOWS)
def test_gradient_flow_is_that_of_finite_differences(name):
    """Of the initial carry of the decoder, and of the first layer of the encoder through all that comes after it."""
    model = make(**FLOWS[name])
    found = gradient_flow(model, SOURCES, TARGETS, LENGTHS)
    layers = FLOWS[name].get("layers", 1)
    numbers = [f" {number + 1}" for number in range(layers)] if layers > 1 else [""]
    ways = ["", " backward"] if FLOWS[name].get("bidirectional") else [""]
    assert set(found) == {f"decoder{n}" for n in numbers} | {f"encoder{n}{way}" for n in numbers for way in ways}
    tokens = shifted(TARGETS)
    start = model.decoder.start(model.encoder(SOURCES))

    def loss(h):
        leaves, structure = jax.tree.flatten(start.carry)
        position = start._replace(carry=jax.tree.unflatten(structure, [h, *leaves[1:]]))
        return -model.decoder.log_probability(model.decoder(position, tokens)[1], TARGETS, LENGTHS)

    h = jax.tree.leaves(start.carry)[0]
    step = 1e-2
    units = jnp.eye(h.shape[-1])
    slopes = jax.lax.map(lambda unit: (loss(h + step * unit) - loss(h - step * unit)) / (2 * step), units)
    np.testing.assert_allclose(np.exp(found[f"decoder{numbers[0]}"][0]), np.linalg.norm(slopes, axis=0), rtol=5e-3)
    if name == "bidirectional":
        encoder = model.encoder.recurrent
        xs = model.encoder.embedding[...][SOURCES.tokens]

        def through(h):
            zeros = encoder.start((3,))
            first = zeros.layers[0]
            carry = zeros._replace(layers=(first._replace(backward=first.backward._replace(h=h)), *zeros.layers[1:]))
            final, ys = encoder(xs, carry, lengths=SOURCES.lengths)
            position = model.decoder.start(model.encoder.encoded(final, ys, SOURCES.lengths))
            return -model.decoder.log_probability(model.decoder(position, tokens)[1], TARGETS, LENGTHS)

        zero = jnp.zeros((3, 4))
        slopes = jax.lax.map(
            lambda unit: (through(zero + step * unit) - through(zero - step * unit)) / (2 * step), units
        )
        np.testing.assert_allclose(np.exp(found["encoder 1 backward"][0]), np.linalg.norm(slopes, axis=0), rtol=5e-3)


PICTURES = {"pixels": (8, 8, 3), "features": (10,)}


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_captioner_tells_pictures_apart(name):
    """Three pictures and their captions by heart: from pixels, and from features."""
    shape = PICTURES[name]
    model = captioner(shape, 6, hidden_size=8, embedding_size=4, summary_to="both", rngs=nnx.Rngs(0))
    params, _, build = split(model)
    pictures = np.random.RandomState(0).randint(0, 256, (3, *shape)).astype(np.uint8 if len(shape) > 1 else np.float32)
    optimizer = optax.adam(0.02)

    @jax.jit
    def train(params, pictures):
        def step(state, _):
            params, opt = state
            loss, gradient = jax.value_and_grad(lambda p: build(p).loss(pictures, TARGETS, LENGTHS))(params)
            updates, opt = optimizer.update(gradient, opt)
            return (optax.apply_updates(params, updates), opt), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), length=80)[1]

    losses = train(params, jnp.asarray(pictures))
    assert losses[0] > 1
    assert losses[-1] < 0.05


def test_product_with_patches_is_a_convolution():
    random = np.random.RandomState(0)
    xs, w = random.randn(2, 5, 8, 3).astype(np.float32), random.randn(3, 3, 3, 4).astype(np.float32)
    want = jax.lax.conv_general_dilated(xs, w, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(patches(jnp.asarray(xs)) @ w.reshape(27, 4), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"summary_to": "all"}, "summary_to must be one of carry, steps, both, got 'all'"),
        ({"cell": rnnjax.Bidirectional(rnnjax.GRU(2))}, "a decoder needs a cell with a step, and Bidirectional has"),
        ({"cell": rnnjax.ConvLSTM(2, (4,), (3,))}, "a decoder needs a cell over vectors, and ConvLSTM is over space"),
        ({"attention": rnnjax.models.Additive(2)}, "attention needs a memory: give memory_size"),
        ({"vocabulary_size": 0}, "vocabulary_size must be an integer of at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
    ],
)
def test_bad_decoder(settings, message):
    known = {"cell": rnnjax.GRU(2), "vocabulary_size": 5, "embedding_size": 2, "summary_size": 2}
    with pytest.raises(ValueError, match=message):
        Decoder(**known | settings, rngs=nnx.Rngs(0))


def test_bad_input():
    with pytest.raises(ValueError, match="the decoder has no attention"):
        make().attention_weights(SOURCES, TARGETS)
    decoder = make(attention="multiplicative").decoder
    with pytest.raises(ValueError, match="attention needs a memory, and the encoder gave none"):
        decoder.start(Encoded(jnp.zeros((1, 4))))
    with pytest.raises(ValueError, match=r"picture_shape must be \(features,\) or \(height, width, 3\), got \(4, 4\)"):
        captioner((4, 4), 5, rngs=nnx.Rngs(0))
