"""The backend's compilers; Django looks for each by its name."""

from __future__ import annotations

from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.compiler import (  # noqa: F401
    SQLAggregateCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django_mongodb_backend.query import MongoQuery


class SQLCompiler(compiler.SQLCompiler):
    def build_query(self, columns: tuple | None = None) -> MongoQuery:
        """Leave out fields that the backend sets to themselves before it sorts by them.

        They change nothing, but with a stage between ``$match`` and ``$sort`` the server reads
        every match and sorts in memory, where an index would give the first page at once.
        """
        query = super().build_query(columns)
        if query.extra_fields:
            query.extra_fields = {
                name: value
                for name, value in query.extra_fields.items()
                if not _is_itself(name, value)
            }
        if query.project_fields:
            query.project_fields = dotted(query.project_fields)
        return query


def _is_itself(name: str, value: Any) -> bool:
    """Return whether a field, or some fields of a joined collection, are set to themselves."""
    if isinstance(value, dict):
        return all(part == f"${name}.{key}" for key, part in value.items())
    return value == f"${name}"


def dotted(fields: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` as ``{"a.b": 1}``: the fields of a joined collection.

    MongoDB accepts both; some servers with MongoDB's protocol accept only the second.
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if _is_joined_collection(value):
            flat |= {f"{name}.{key}": 1 for key in value}
        else:
            flat[name] = value
    return flat


def _is_joined_collection(value: Any) -> bool:
    """Return whether ``value`` has names of fields, each with a 1, and no operator."""
    if not isinstance(value, dict) or not value:
        return False
    return all(part == 1 and not key.startswith("$") for key, part in value.items())
