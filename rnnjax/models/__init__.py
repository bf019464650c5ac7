"""Models built of cells."""

from rnnjax.models.readout import Readout, ReadoutParams

__all__ = ["Readout", "ReadoutParams"]
