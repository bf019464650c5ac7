"""Models built of cells."""

from rnnjax.models.attention import ATTENTIONS, Additive, Attending, Attention, Memory, Multiplicative, attend, remember
from rnnjax.models.beam import BeamSearch, Written
from rnnjax.models.captioner import FeatureEncoder, ThumbnailEncoder, captioner
from rnnjax.models.cascade import CascadeParams, RecurrentCascade
from rnnjax.models.chunker import Chunker, ChunkerCarry, ChunkerParams, ChunkerStep
from rnnjax.models.classifier import POOLINGS, Classifier
from rnnjax.models.cross_entropy import softmax_cross_entropy
from rnnjax.models.decoder import Decoder, Encoded, Position
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
from rnnjax.models.seq2seq import END, START, EncoderDecoder, Sentences, SequenceEncoder, seq2seq
from rnnjax.models.seq2seq_flow import gradient_flow
from rnnjax.models.split import Parts, split

__all__ = [
    "ATTENTIONS",
    "END",
    "FORECASTERS",
    "LANGUAGE_MODELS",
    "POOLINGS",
    "START",
    "Additive",
    "Attending",
    "Attention",
    "BatchNormStack",
    "BeamSearch",
    "CascadeParams",
    "CausalConvolution",
    "Chunker",
    "ChunkerCarry",
    "ChunkerParams",
    "ChunkerStep",
    "Classifier",
    "Convolution",
    "Decoder",
    "Encoded",
    "EncoderDecoder",
    "FeatureEncoder",
    "Forecaster",
    "LanguageLoss",
    "LanguageModel",
    "LeastSquares",
    "Memory",
    "Multiplicative",
    "Parts",
    "Position",
    "Recurrent",
    "RecurrentCascade",
    "RecurrentCell",
    "Sampler",
    "Sentences",
    "SequenceEncoder",
    "ThumbnailEncoder",
    "Written",
    "attend",
    "awd_lstm",
    "better_rnnlm",
    "captioner",
    "char_rnn",
    "forecast",
    "full_name",
    "gradient_flow",
    "make_forecaster",
    "naive",
    "remember",
    "rnnlm",
    "sample",
    "seq2seq",
    "softmax_cross_entropy",
    "split",
    "stream",
    "zaremba",
    "zaremba_large",
    "zaremba_medium",
    "zaremba_small",
]
