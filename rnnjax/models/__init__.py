"""Models built of cells."""

from rnnjax.models.readout import Readout, ReadoutParams
from rnnjax.models.recurrent import BatchNormStack, Recurrent, RecurrentCell

__all__ = ["BatchNormStack", "Readout", "ReadoutParams", "Recurrent", "RecurrentCell"]
