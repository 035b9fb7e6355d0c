"""Values of a shared cache as JSON. Django pickles them, and would let everyone who can write to
the cache run code in the service.
"""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    def dumps(self, value: Any) -> int | bytes:
        """Return a whole number as it is, since Redis counts with it."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, data: int | bytes) -> Any:
        """Raises ValueError for what is not JSON."""
        return json.loads(data) if isinstance(data, bytes) else data
