"""Store the values of a shared cache as JSON. Django stores them as pickles, with which anyone who
can write to the cache can run code in the service.
"""

from __future__ import annotations

import json
from typing import Any


class JsonSerializer:
    def dumps(self, value: Any) -> int | bytes:
        """Return the value as JSON, or a whole number as it is, since Redis counts with it."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, data: int | bytes) -> Any:
        """Return the value that ``dumps`` stored. Raises ValueError for data that is not JSON."""
        return json.loads(data) if isinstance(data, bytes) else data
