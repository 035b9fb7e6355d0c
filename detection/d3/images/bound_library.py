"""Call a C library that a Python extension module contains."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def bound_library(path: str, *functions: tuple) -> ctypes.CDLL | None:
    """Return the library in the extension module at ``path``, or None if it lacks a function.

    Each of the ``functions`` is a name, the type of the result, and the types of the arguments.
    """
    try:
        library = ctypes.CDLL(path)
        for name, result, *arguments in functions:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        return None
    return library
