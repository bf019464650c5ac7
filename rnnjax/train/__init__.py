"""Training: optimiser chains."""

from rnnjax.train.clipping import ClippingState, clip_by_global_norm, clipped_adam, clipping_norms

__all__ = ["ClippingState", "clip_by_global_norm", "clipped_adam", "clipping_norms"]
