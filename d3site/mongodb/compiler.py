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
        """Without the fields that the backend sets to themselves before it sorts by them.

        They change nothing, but a server that sees a stage between ``$match`` and ``$sort`` reads
        every match and sorts in memory, where an index would give the first page at once.
        """
        query = super().build_query(columns)
        if query.extra_fields:
            query.extra_fields = {
                name: value
                for name, value in query.extra_fields.items()
                if not _is_itself(name, value)
            }
        query.match_mql = flattened(query.match_mql)
        return query


def _is_itself(name: str, value: Any) -> bool:
    """A field, or some fields of a joined collection."""
    if isinstance(value, dict):
        return all(part == f"${name}.{key}" for key, part in value.items())
    return value == f"${name}"


def flattened(condition: dict[str, Any]) -> dict[str, Any]:
    """``{"$and": [{"a": 1}, {"b": 2}]}`` as ``{"a": 1, "b": 2}``, where that says the same.

    MongoDB plans both alike; not every server with its protocol looks for an index inside $and.
    """
    if condition.keys() != {"$and"}:
        return condition
    if _is_guarded_comparison(condition["$and"]):
        return condition["$and"][0]
    merged: dict[str, Any] = {}
    for part in map(flattened, condition["$and"]):
        for key, value in part.items():
            if key not in merged:
                merged[key] = value
            elif _can_be_joined(key, merged[key], value):
                merged[key] = merged[key] | value
            else:
                return condition
    return merged


def _is_guarded_comparison(parts: list[dict[str, Any]]) -> bool:
    """``a < 1 and a is not null``: a comparison never finds null in the first place."""
    if not parts[0]:
        return False
    field, comparison = next(iter(parts[0].items()))
    guard = {"$and": [{field: {"$exists": True}}, {field: {"$ne": None}}]}
    return (
        len(parts) == 2
        and parts[1] == guard
        and isinstance(comparison, dict)
        and comparison.keys() in ({"$lt"}, {"$lte"})
        and None not in comparison.values()
    )


def _can_be_joined(field: str, *conditions: Any) -> bool:
    """Operators of a field, none of them twice."""
    return (
        not field.startswith("$")
        and all(isinstance(each, dict) and each for each in conditions)
        and all(str(key).startswith("$") for each in conditions for key in each)
        and not set.intersection(*(set(each) for each in conditions))
    )
