"""What a command says in one line when it cannot go on."""


class UsageError(Exception):
    """Bad input to a benchmark: the command line prints the message as it is and exits with code 2."""


class BenchmarkError(Exception):
    """A benchmark cannot go on, by no fault of its settings: one line, and the command line exits with code 1."""


class Interrupted(Exception):
    """The user stopped a benchmark: the message says how to resume, and the command line exits with code 130."""


def failure(error: Exception) -> str:
    """The status of an experiment that an error of the device or of memory ended."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return "out of memory"
    return "failed: " + " ".join(str(error).split())[:200]
