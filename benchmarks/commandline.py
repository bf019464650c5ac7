"""What every command line is made with: how it is read, and how it fails, in one line."""

from collections.abc import Callable, Sequence
from typing import Any

import cyclopts
from rich.console import Console

import rnnjax
from benchmarks.errors import BenchmarkError, Interrupted, UsageError


def make_app(name: str, about: str | None = None) -> cyclopts.App:
    """A command line whose errors are raised, for `exit_code`; `about` is None for a command that says it itself."""
    return cyclopts.App(
        name=name,
        help=about,
        version=rnnjax.__version__,
        exit_on_error=False,
        print_error=False,
        default_parameter=cyclopts.Parameter(consume_multiple=True, negative=()),
    )


def run_alone(name: str, command: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Runs a command that is a command line by itself; returns its exit code."""
    app = make_app(name)
    app.default(command)

    def work() -> None:
        chosen, bound, _ = app.parse_args(arguments)
        chosen(*bound.args, **bound.kwargs)

    return exit_code(work)


def exit_code(work: Callable[[], None]) -> int:
    """0, 1 if the work failed, 2 for bad input, 130 after Ctrl-C; an error is one red line."""
    try:
        work()
    except (cyclopts.CycloptsError, UsageError) as error:
        return fail(error, 2)
    except BenchmarkError as error:
        return fail(error, 1)
    except Interrupted as error:
        return fail(error, 130)
    except KeyboardInterrupt:
        return fail(Interrupted("Interrupted"), 130)
    return 0


def fail(error: Exception, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(" ".join(str(error).split()), style="red", markup=False, highlight=False)
    return code
