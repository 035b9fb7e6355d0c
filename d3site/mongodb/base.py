"""MongoDB's own backend for Django, with queries that use its indexes."""

from __future__ import annotations

from django_mongodb_backend.base import DatabaseWrapper as MongoWrapper
from django_mongodb_backend.operations import DatabaseOperations as MongoOperations

from d3site.mongodb.schema import DatabaseSchemaEditor


class DatabaseOperations(MongoOperations):
    compiler_module = "d3site.mongodb.compiler"


class DatabaseWrapper(MongoWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    ops_class = DatabaseOperations
