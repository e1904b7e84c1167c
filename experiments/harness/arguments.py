"""The arguments of a command: options checked with the nearest valid name, and overrides of the Config's fields."""

import argparse
from pathlib import Path

from experiments.harness.config import UsageError, choose

__all__ = ["Parser", "split_overrides"]


class Parser(argparse.ArgumentParser):
    """Tells what is wrong by UsageError, with the nearest option for an unknown one."""

    def __init__(self, command: str, description: str, program: str = "python -m experiments"):
        """Describes `PROGRAM COMMAND`; every command knows the folder of runs."""
        raw = argparse.RawDescriptionHelpFormatter
        prog = f"{program} {command}"
        super().__init__(prog=prog, description=description, allow_abbrev=False, formatter_class=raw)
        self.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")

    def error(self, message: str):
        """Raises UsageError instead of leaving the program."""
        raise UsageError(message)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Parses all arguments; UsageError names what is not an option."""
        options, unknown = self.parse_known_args(argv)
        for argument in unknown:
            if argument.startswith("-"):
                choose("option", argument.split("=")[0], self._option_string_actions)
            raise UsageError(f"unexpected argument {argument!r}")
        return options


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes the overrides `--config.FIELD VALUE` or `--config.FIELD=VALUE` out of the arguments."""
    rest, overrides, arguments = [], {}, iter(argv)
    for argument in arguments:
        if not argument.startswith("--config."):
            rest.append(argument)
            continue
        name, given, value = argument.removeprefix("--config.").partition("=")
        overrides[name] = value if given else next(arguments, None)
        if overrides[name] is None:
            raise UsageError(f"{argument} needs a value")
    return rest, overrides
