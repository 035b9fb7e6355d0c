from __future__ import annotations


def canonical_endpoints(endpoints: list[tuple]) -> list[tuple]:
    """Each view once: the old paths answer too, but are not what a new client should learn."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(("/api/", "/health"))]
