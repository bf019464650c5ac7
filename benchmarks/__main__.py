"""The command line of the suite: `python -m benchmarks NAME --help`."""

import importlib
import sys
from collections.abc import Sequence

import cyclopts
from rich.console import Console

import rnnjax
from benchmarks import BENCHMARKS
from benchmarks.errors import BenchmarkError, HelpNeeded, Interrupted, UsageError


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit code: 0, 1 if it failed, 2 for bad input, 130 after Ctrl-C."""
    app = cyclopts.App(
        name="python -m benchmarks",
        help="Benchmarks of recurrent networks: what they remember, and what it costs.",
        version=rnnjax.__version__,
        exit_on_error=False,
        print_error=False,
        default_parameter=cyclopts.Parameter(consume_multiple=True, negative=()),
    )
    for name, module in BENCHMARKS.items():
        app.command(importlib.import_module(module).command, name=name)
    try:
        command, bound, _ = app.parse_args(arguments)
        # A resumed run, or a comparison, has defaults of its own: parse again on top of them.
        defaults = getattr(sys.modules[command.__module__], "defaults", dict)(**bound.arguments)
        if defaults:
            # Under the command's names: else cyclopts passes over an option that has the name of another, such as lags.
            for name in reversed(app.parse_commands(arguments)[0]):
                defaults = {name: defaults}
            app.config = cyclopts.config.Dict(defaults)
            command, bound, _ = app.parse_args(arguments)
        command(*bound.args, **bound.kwargs)
    except HelpNeeded:
        app.help_print(arguments)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
