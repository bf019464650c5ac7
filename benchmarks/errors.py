"""What a command says in one line when it cannot go on."""


class UsageError(Exception):
    """Bad input to a benchmark: the command line prints the message as it is and exits with code 2."""


class BenchmarkError(Exception):
    """A benchmark cannot go on, by no fault of its settings: one line, and the command line exits with code 1."""


class Interrupted(Exception):
    """The user stopped a benchmark: the message says how to resume, and the command line exits with code 130."""


class HelpNeeded(Exception):
    """A command was given nothing to do: the command line prints its help."""


OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "can't allocate memory")
"""What JAX, and PyTorch on a GPU and on a CPU, say."""


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)


def failure(error: Exception) -> str:
    """The status of an experiment that an error of the device or of memory ended."""
    return "out of memory" if is_out_of_memory(error) else f"failed: {one_line(error)}"
