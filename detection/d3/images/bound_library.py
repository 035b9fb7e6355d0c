"""A C library that a Python module brings along, called directly."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping


def bound_library(path: str, functions: Mapping[str, tuple]) -> ctypes.CDLL | None:
    """Return the library that a module loads, or None where its functions are not found.

    ``functions`` are names with the types that each returns and takes.
    """
    try:
        library = ctypes.CDLL(path)
        for name, (result, *arguments) in functions.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (AttributeError, OSError):
        return None
    return library
