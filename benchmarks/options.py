"""What the command lines of the benchmarks share: whole numbers, and checks of options that take several values."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Group, Parameter, Token

from benchmarks.errors import UsageError


def _whole(type_: Any, tokens: tuple[Token, ...]) -> int:
    """Only whole numbers: cyclopts itself rounds 1.5 to 2."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f'unable to convert "{tokens[0].value}" into int') from None


SHOWN = Parameter(show_default=True)
"""For a setting that no recipe decides: what chooses the recipe."""


def recipe_of(what: str) -> Parameter:
    """For the settings of a model and its data: what they are by default is said once, and not option by option."""
    help = f"Where an option is not given, the recipe of {what} says."
    return Parameter(group=Group("Model and data", help, sort_key=0), show_default=False)


Int = Annotated[int, Parameter(converter=_whole)]


def check_several(option: str, values: Sequence[Any]) -> None:
    """At least one value, and none twice."""
    if not values:
        raise UsageError(f"{option}: give at least one")
    if len(set(values)) < len(values):
        raise UsageError(f"{option}: {' '.join(map(str, values))} has a value twice")


def check_known(option: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    """All names are those of a registry, which says what was meant."""
    for name in names:
        try:
            known[name]
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from None


def check_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"{option} must be at least {least}, got {value}")


def check_devices(devices: int | None) -> None:
    """A number of devices, or None for all."""
    if devices is not None:
        check_least("--devices", devices, 1)
