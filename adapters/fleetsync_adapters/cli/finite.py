"""Numbers on the command line."""

from math import isfinite
from typing import Any

import click


class Finite(click.FloatRange):
    """A range of numbers, in which "nan" is none: it is neither below nor above any bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number.

        Raises:
            click.BadParameter: it is none, or outside.
        """
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a number to count with", param, ctx)
        return number
