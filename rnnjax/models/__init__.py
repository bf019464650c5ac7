"""Models built of cells."""

from rnnjax.models.recurrent import BatchNormStack, Recurrent, RecurrentCell

__all__ = ["BatchNormStack", "Recurrent", "RecurrentCell"]
