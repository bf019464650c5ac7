"""Members of an ensemble train as each would by itself, and one that diverges takes nobody with it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rnnjax.models import split
from rnnjax.train import (
    ensemble_loss,
    ensemble_optimizer,
    ensemble_plan,
    example_loss,
    make_optimizer,
    make_steps,
    members,
    middle,
    shuffled,
    start,
)

SEEDS = (0, 1, 2)
XS = jnp.asarray(np.random.RandomState(0).standard_normal((24, 3)), jnp.float32)
OPTIMIZER = make_optimizer("adam", 0.05, max_norm=0.3)


class Network(nnx.Module):
    """With running averages, so that there is a state too."""

    def __init__(self, seed):
        rngs = nnx.Rngs(seed)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.linear = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, xs):
        return self.linear(self.norm(xs))[:, 0]


def loss(model, xs, key):
    return jnp.square(model(xs) - xs[:, 0] * xs[:, 1]).mean(), len(xs)


def test_each_member_trains_as_by_itself():
    """With its own order of the examples, and its own gradient clipped."""
    parts = [split(Network(seed)) for seed in SEEDS]
    plans = [shuffled(24, 4, seed) for seed in SEEDS]
    one = example_loss(parts[0].build, loss)
    key = jax.random.key(0)
    steps = make_steps(one, OPTIMIZER)
    alone = [
        steps(start(part.params, OPTIMIZER, key, part.state), XS, plan(0).items, 0, 6)
        for part, plan in zip(parts, plans, strict=True)
    ]
    optimizer = ensemble_optimizer(OPTIMIZER)
    steps = make_steps(ensemble_loss(one), optimizer)
    together = members(parts)
    items = ensemble_plan(plans)(0).items
    got = steps(start(together.params, optimizer, key, together.state), XS, items, 0, 6)
    for number, want in enumerate(alone):
        for ours, theirs in ((got.params, want.params), (got.carry, want.carry)):
            for leaf, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(leaf[number], other, rtol=1e-5, atol=1e-6)
    assert int(got.totals.work) == 3 * 24
    np.testing.assert_allclose(got.totals.norm_before, np.mean([each.totals.norm_before for each in alone]), rtol=1e-5)
    np.testing.assert_allclose(got.totals.clipped, np.mean([each.totals.clipped for each in alone]))

    broken = together.params
    broken["linear"]["kernel"][...] = broken["linear"]["kernel"][...].at[1].set(jnp.nan)
    after = steps(start(broken, optimizer, key, together.state), XS, items, 0, 6)
    for leaf, other in zip(jax.tree.leaves(after.params), jax.tree.leaves(got.params), strict=True):
        np.testing.assert_array_equal(leaf[0::2], other[0::2])
    assert np.isnan(after.params["linear"]["kernel"][...][1]).all()
    assert np.isfinite(float(after.totals.loss))
    assert np.isfinite(float(after.totals.norm_after))


def test_middle_counts_who_diverged_as_the_worst():
    assert middle(jnp.array([3.0, jnp.nan, 1.0])) == 3.0
    assert middle(jnp.array([3.0, jnp.nan, -jnp.inf])) == jnp.inf
