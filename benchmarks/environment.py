"""What a benchmark ran on: goes into every record, so that a number can be traced to its machine and its code."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import rnnjax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
REPOSITORY = Path(__file__).parent.parent


def describe() -> dict[str, Any]:
    """Commit, versions, device and machine."""
    devices = jax.devices()
    return {
        "commit": commit(),
        "rnnjax": rnnjax.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "machine": machine(),
        "cores": os.cpu_count(),
    }


def commit() -> str:
    """The commit of this checkout, with "+changes" behind it if files differ from it; "unknown" outside a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> str:
    """The processor's name as Linux tells it, or what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
