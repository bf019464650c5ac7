"""Algorithms that learn through time, and their registry: a new one is one file here and one line in `ALGORITHMS`."""

from collections.abc import Callable

from rnnjax.learn.base import Algorithm, Learned, StepLoss
from rnnjax.learn.bias import Agreement, TruncationBias, agreement, truncation_bias
from rnnjax.learn.bptt import BPTT
from rnnjax.learn.clipped import ClippedBPTT, Clipping
from rnnjax.learn.elman import OneStep
from rnnjax.learn.guessing import WeightGuessing
from rnnjax.learn.lstm_1997 import Truncated1997
from rnnjax.learn.rtrl import RTRL
from rnnjax.learn.snap import SnAp1
from rnnjax.learn.truncated import TruncatedBPTT
from rnnjax.learn.uoro import UORO
from rnnjax.registry import Registry

ALGORITHMS: Registry[Callable[..., Algorithm]] = Registry(
    "algorithm",
    {
        "bptt": BPTT,
        "tbptt": TruncatedBPTT,
        "bptt-clipped": ClippedBPTT,
        "rtrl": RTRL,
        "snap-1": SnAp1,
        "uoro": UORO,
        "truncated-1997": Truncated1997,
        "one-step": OneStep,
        "guessing": WeightGuessing,
    },
)

__all__ = [
    "ALGORITHMS",
    "BPTT",
    "RTRL",
    "UORO",
    "Agreement",
    "Algorithm",
    "ClippedBPTT",
    "Clipping",
    "Learned",
    "OneStep",
    "SnAp1",
    "StepLoss",
    "Truncated1997",
    "TruncatedBPTT",
    "TruncationBias",
    "WeightGuessing",
    "agreement",
    "truncation_bias",
]
