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


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "algorithm"), [("rtrl", RTRL()), ("snap-1", SnAp1())])
def test_gradients_are_those_of_braintrace(name, algorithm):
    """Its SnAp of the order of the hidden units, which is RTRL, and of order 1."""
    data = {key: np.array(value) for key, value in RECORDED["data"].items()}
    params = rnnjax.ElmanParams(data["w_x"], data["w_h"], data["b"])
    learn = jax.jit(algorithm, static_argnums=(0, 4))
    found = learn(rnnjax.Elman(3), params, None, data["xs"], squares, targets=data["targets"])
    want = rnnjax.ElmanParams(**{key: np.array(RECORDED[name][key]) for key in ("w_x", "w_h", "b")})
    assert relative_error(found.gradients, want) < 1e-12
