"""The command line of the suite: `python -m benchmarks NAME --help`."""

import importlib
import sys
from collections.abc import Sequence

import cyclopts

from benchmarks import BENCHMARKS
from benchmarks.commandline import exit_code, make_app
from benchmarks.errors import HelpNeeded


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns its exit code: 0, 1 if it failed, 2 for bad input, 130 after Ctrl-C."""
    app = make_app("python -m benchmarks", "Benchmarks of recurrent networks: what they remember, and what it costs.")
    for name, module in BENCHMARKS.items():
        app.command(importlib.import_module(module).command, name=name)

    def work() -> None:
        command, bound, _ = app.parse_args(arguments)
        # A resumed run, or a comparison, has defaults of its own: parse again on top of them.
        defaults = getattr(sys.modules[command.__module__], "defaults", dict)(**bound.arguments)
        if defaults:
            # Under the command's names: else cyclopts passes over an option that has the name of another, such as lags.
            for name in reversed(app.parse_commands(arguments)[0]):
                defaults = {name: defaults}
            app.config = cyclopts.config.Dict(defaults)
            command, bound, _ = app.parse_args(arguments)
        try:
            command(*bound.args, **bound.kwargs)
        except HelpNeeded:
            app.help_print(arguments)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
