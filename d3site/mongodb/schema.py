"""The backend's schema editor, with unique indexes that look-ups use."""

from __future__ import annotations

from django.db.models import Field, Model
from django_mongodb_backend.schema import DatabaseSchemaEditor as MongoSchemaEditor
from pymongo import ASCENDING


class DatabaseSchemaEditor(MongoSchemaEditor):
    def _add_field_unique(self, model: type[Model], field: Field, column_prefix: str = "") -> None:
        """Create an index of all values of a field that is never null.

        The backend would create a partial index without null values. A look-up does not use such an
        index, so each query by session key or user name would read all documents.
        """
        if field.null or column_prefix:
            super()._add_field_unique(model, field, column_prefix=column_prefix)
            return
        table = model._meta.db_table
        name = str(self._unique_constraint_name(table, [field.column]))
        self.get_collection(table).create_index([(field.column, ASCENDING)], name=name, unique=True)
