"""Other libraries doing the same work: one adapter each, imported only when asked for (the extra `peers`).

An adapter is one file and one line in `PEERS`. Each has the same names in the same order:

    PACKAGE   the name that its version is found by
    CELLS     what it has for our cells "rnn", "lstm" and "gru"
    LACKS     why it has none, for the others
    make      its network with our weights: a `JaxNetwork` (benchmarks.peers.program), or all of the `Program`

and writes the work as a user of the library who wants it fast would.
"""

from rnnjax.registry import Registry

PEERS: Registry[str] = Registry(
    "library",
    {
        "pytorch": "benchmarks.peers.pytorch",
        "flax-linen": "benchmarks.peers.flax_linen",
        "flax-nnx": "benchmarks.peers.flax_nnx",
        "equinox": "benchmarks.peers.equinox",
        "haiku": "benchmarks.peers.haiku",
        "keras": "benchmarks.peers.keras",
        "jax-cudnn": "benchmarks.peers.jax_cudnn",
    },
)
"""Names and the modules that hold them."""
