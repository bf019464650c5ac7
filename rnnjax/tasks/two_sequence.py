"""The two-sequence problem: the first elements tell the class, noise follows, and the class is due at the end."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from rnnjax.checks import check_size
from rnnjax.tasks.base import Batch, RegressionTask, at_end


@dataclass(frozen=True)
class TwoSequence(RegressionTask):
    """Real numbers of length U[T, 1.1 T]: N elements of the class, +1 or -1, then N(0, variance 0.2)."""

    informative: int = 3
    """N."""

    min_length: ClassVar[int] = 4
    input_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    tolerance: ClassVar[float] = 0.2
    levels: ClassVar[tuple[float, float]] = (1.0, 0.0)
    """The targets of class 1 (+1) and class 2 (-1)."""
    noisy_inputs: ClassVar[bool] = False
    target_variance: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "informative", check_size("informative", self.informative))
        if self.informative >= self.length:
            raise ValueError(f"informative must be below length, {self.length}, got {self.informative}")

    @property
    def max_length(self) -> int:
        return self.length + self.length // 10

    @property
    def baseline(self) -> float:
        """The variance of the target: (difference of the levels)^2 / 4, and that of its noise."""
        return (self.levels[0] - self.levels[1]) ** 2 / 4 + self.target_variance

    def sample(self, key: Array, batch_size: int) -> Batch:
        key_class, key_noise, key_length, key_target = jax.random.split(key, 4)
        sign = jax.random.rademacher(key_class, (batch_size,), jnp.float32)
        lengths = jax.random.randint(key_length, (batch_size,), self.length, self.max_length + 1)
        noise = jax.random.normal(key_noise, (self.max_length, batch_size)) * 0.2**0.5
        steps = jnp.arange(self.max_length)[:, None]
        tells = steps < self.informative
        values = jnp.where(tells, sign + (noise if self.noisy_inputs else 0), noise)
        targets = jnp.where(sign > 0, *self.levels)
        if self.target_variance:
            targets = targets + jax.random.normal(key_target, (batch_size,)) * self.target_variance**0.5
        return Batch(
            jnp.where(steps < lengths, values, 0)[..., None],
            jnp.broadcast_to(targets[:, None], (self.max_length, batch_size, 1)),
            at_end(lengths, self.max_length),
            lengths,
        )

    def clean(self, batch: Batch) -> Float[Array, "time batch 1"]:
        """The targets without noise."""
        return batch.targets


class TwoSequence3a(TwoSequence):
    """The first N elements are 1 for class 1 and -1 for class 2; the target is 1 or 0 at the end.

    A sequence is misclassified if the error is above 0.2. Guessing weights at random solves it sooner than learning.

    Source: Hochreiter & Schmidhuber 1997, experiment 3a, after Y. Bengio, P. Simard, P. Frasconi, "Learning Long-Term
    Dependencies with Gradient Descent is Difficult", 1994.
    """


class TwoSequence3b(TwoSequence):
    """As 3a, with noise of variance 0.2 on the first N elements too: where it turns their sign, nobody can tell.

    Source: Hochreiter & Schmidhuber 1997, experiment 3b.
    """

    noisy_inputs: ClassVar[bool] = True


class TwoSequence3c(TwoSequence):
    """As 3a, with targets 0.2 for class 1 and 0.8 for class 2, and noise of variance 0.1 on them.

    Misclassified if the output is more than 0.1 away from the target without noise.

    Source: Hochreiter & Schmidhuber 1997, experiment 3c.
    """

    tolerance: ClassVar[float] = 0.1
    levels: ClassVar[tuple[float, float]] = (0.2, 0.8)
    target_variance: ClassVar[float] = 0.1

    def clean(self, batch: Batch) -> Float[Array, "time batch 1"]:
        """The targets without noise, which the first element tells."""
        return jnp.broadcast_to(jnp.where(batch.inputs[0] > 0, *self.levels), batch.targets.shape)

    def correct(self, outputs: Float[Array, "time batch outputs"], batch: Batch) -> Bool[Array, "batch"]:
        """Within 0.1 of the target without noise."""
        return super().correct(outputs, batch._replace(targets=self.clean(batch)))
