"""Training: optimiser chains, the loop, checkpoints, reports."""

from rnnjax.train.checkpoints import CheckpointError, Checkpoints
from rnnjax.train.clipping import ClippingState, clip, clip_by_global_norm, clipped_adam, clipping_norms
from rnnjax.train.ensemble import ensemble_loss, ensemble_optimizer, ensemble_plan, members, middle
from rnnjax.train.examples import BatchLoss, example_loss, over_examples, shuffled
from rnnjax.train.loop import (
    Average,
    Loss,
    Outcome,
    Plan,
    Progress,
    Report,
    Rules,
    Stopped,
    Totals,
    TrainState,
    fit,
    make_steps,
    start,
)
from rnnjax.train.optimizers import OPTIMIZERS, make_optimizer
from rnnjax.train.reporting import ProgressBar, Reporter, TensorBoard, bits, perplexity

__all__ = [
    "OPTIMIZERS",
    "Average",
    "BatchLoss",
    "CheckpointError",
    "Checkpoints",
    "ClippingState",
    "Loss",
    "Outcome",
    "Plan",
    "Progress",
    "ProgressBar",
    "Report",
    "Reporter",
    "Rules",
    "Stopped",
    "TensorBoard",
    "Totals",
    "TrainState",
    "bits",
    "clip",
    "clip_by_global_norm",
    "clipped_adam",
    "clipping_norms",
    "ensemble_loss",
    "ensemble_optimizer",
    "ensemble_plan",
    "example_loss",
    "fit",
    "make_optimizer",
    "make_steps",
    "members",
    "middle",
    "over_examples",
    "perplexity",
    "shuffled",
    "start",
]
