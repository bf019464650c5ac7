"""What all tests share."""

import os

# Most of the time goes into compilation: LLVM's optimisations change nothing that is tested here. On two cores, a
# product that is split over threads can wait forever for a thread that waits in a sum over devices for this one.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false")

import jax
import pytest

collect_ignore = ["interop/record.py"]  # no tests, and doctest would import it, which takes PyTorch and Keras

jax.config.update("jax_num_cpu_devices", 2)  # for what is spread over devices; all else runs on the first


@pytest.fixture
def x64():
    """Runs the test with 64-bit types."""
    with jax.enable_x64(True):
        yield
