"""A C library that a Python module brings along, called directly."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def bound_library(path: str, *functions: tuple) -> ctypes.CDLL | None:
    """Return the library that a module loads, or None where its functions are not found.

    ``functions`` are their names, each with the types that it returns and takes.
    """
    try:
        library = ctypes.CDLL(path)
        for name, result, *arguments in functions:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        return None
    return library
