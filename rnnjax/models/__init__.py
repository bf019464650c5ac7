"""Models built of cells."""

from rnnjax.models.cross_entropy import softmax_cross_entropy
from rnnjax.models.language import (
    LANGUAGE_MODELS,
    LanguageLoss,
    LanguageModel,
    awd_lstm,
    better_rnnlm,
    char_rnn,
    rnnlm,
    zaremba,
    zaremba_large,
    zaremba_medium,
    zaremba_small,
)
from rnnjax.models.recurrent import BatchNormStack, Recurrent, RecurrentCell
from rnnjax.models.sampling import Sampler, sample, stream

__all__ = [
    "LANGUAGE_MODELS",
    "BatchNormStack",
    "LanguageLoss",
    "LanguageModel",
    "Recurrent",
    "RecurrentCell",
    "Sampler",
    "awd_lstm",
    "better_rnnlm",
    "char_rnn",
    "rnnlm",
    "sample",
    "softmax_cross_entropy",
    "stream",
    "zaremba",
    "zaremba_large",
    "zaremba_medium",
    "zaremba_small",
]
