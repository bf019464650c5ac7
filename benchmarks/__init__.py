"""The benchmark suite: `python -m benchmarks NAME`. A new benchmark is one folder here and one line in `BENCHMARKS`."""

from rnnjax.registry import Registry

BENCHMARKS: Registry[str] = Registry(
    "benchmark",
    {
        "gradients": "benchmarks.gradients",
        "hs1997": "benchmarks.hs1997",
        "lags": "benchmarks.lags",
        "truncation": "benchmarks.truncation",
        "speed": "benchmarks.speed",
        "language": "benchmarks.language",
        "forecast": "benchmarks.forecast",
        "classify": "benchmarks.classify",
        "translate": "benchmarks.translate",
        "caption": "benchmarks.caption",
    },
)
"""Names and the modules that hold them: each defines `command`, the function behind the command line."""
