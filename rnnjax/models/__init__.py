"""Models built of cells."""

from rnnjax.models.cascade import CascadeParams, RecurrentCascade
from rnnjax.models.chunker import Chunker, ChunkerCarry, ChunkerParams, ChunkerStep
from rnnjax.models.classifier import POOLINGS, Classifier
from rnnjax.models.cross_entropy import softmax_cross_entropy
from rnnjax.models.forecaster import (
    FORECASTERS,
    CausalConvolution,
    Convolution,
    Forecaster,
    LeastSquares,
    forecast,
    full_name,
    make_forecaster,
    naive,
)
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
from rnnjax.models.split import Parts, split

__all__ = [
    "FORECASTERS",
    "LANGUAGE_MODELS",
    "POOLINGS",
    "BatchNormStack",
    "CascadeParams",
    "CausalConvolution",
    "Chunker",
    "ChunkerCarry",
    "ChunkerParams",
    "ChunkerStep",
    "Classifier",
    "Convolution",
    "Forecaster",
    "LanguageLoss",
    "LanguageModel",
    "LeastSquares",
    "Parts",
    "Recurrent",
    "RecurrentCascade",
    "RecurrentCell",
    "Sampler",
    "awd_lstm",
    "better_rnnlm",
    "char_rnn",
    "forecast",
    "full_name",
    "make_forecaster",
    "naive",
    "rnnlm",
    "sample",
    "softmax_cross_entropy",
    "split",
    "stream",
    "zaremba",
    "zaremba_large",
    "zaremba_medium",
    "zaremba_small",
]
