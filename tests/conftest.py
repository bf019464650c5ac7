"""What all tests share."""

import os

# Most of the time goes into compilation: LLVM's optimisations change nothing that is tested here.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# A device waits in a sum over devices on a thread of the pool they share, which has one thread a core: on two cores
# none may be left for those it waits for, and the test hangs.
os.environ.setdefault("PJRT_NPROC", "8")

import jax
import pytest

# No tests, and doctest would import them, which takes PyTorch and Keras, and braintrace.
collect_ignore = ["interop/record.py", "learn/record_braintrace.py"]

jax.config.update("jax_num_cpu_devices", 2)  # for what is spread over devices; all else runs on the first
jax.devices()  # started here, before a command does it with another number


@pytest.fixture
def x64():
    """Runs the test with 64-bit types."""
    with jax.enable_x64(True):
        yield
