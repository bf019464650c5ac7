import numpy as np

import rnnjax
from tests.support import init


def test_readout_starts_with_glorot_weights_and_no_bias():
    params = init(rnnjax.Readout(rnnjax.Elman(40), 20), 3)
    assert not np.any(params.b)
    bound = np.sqrt(6 / (40 + 20))
    assert 0.98 * bound < np.abs(params.w).max() <= bound
    np.testing.assert_allclose(np.var(params.w), bound**2 / 3, rtol=0.1)
