"""What another library, braintrace, makes of a small RNN, recorded: holds without it."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import rnnjax
from rnnjax.learn import RTRL, SnAp1
from tests.learn.support import squares
from tests.support import relative_error

RECORDED = json.loads(Path(__file__).with_name("recorded_braintrace.json").read_text(encoding="utf-8"))


def weights(arrays):
    return rnnjax.ElmanParams(*(np.array(arrays[name]) for name in ("w_x", "w_h", "b")))


def gradients(algorithm):
    data = RECORDED["data"]
    xs, targets = np.array(data["xs"]), np.array(data["targets"])
    learn = jax.jit(algorithm, static_argnums=(0, 4))
    return learn(rnnjax.Elman(3), weights(data), None, xs, squares, targets=targets).gradients


@pytest.mark.usefixtures("x64")
def test_rtrl_is_that_of_braintrace():
    """Its SnAp of the order of the hidden units."""
    assert relative_error(gradients(RTRL()), weights(RECORDED["rtrl"])) < 1e-12


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_snap_is_that_of_braintrace():
    assert relative_error(gradients(SnAp1()), weights(RECORDED["snap-1"])) < 1e-12
