"""What all tests share."""

import jax
import pytest


@pytest.fixture
def x64():
    """Runs the test with 64-bit types."""
    with jax.enable_x64(True):
        yield
