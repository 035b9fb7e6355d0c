"""Functions that fail, for tests to put in the place of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never

from detection.errors import DatabaseUnavailableError


def raising(error: BaseException | type[BaseException]) -> Callable[..., Never]:
    """Return a function that raises the error, whatever its arguments."""

    def fail(*arguments: object, **options: object) -> Never:
        raise error

    return fail


database_down = raising(DatabaseUnavailableError("It is down."))
