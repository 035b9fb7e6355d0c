"""The Django project. Importing it makes its Celery app the current one."""

from d3site.celery import app

__all__ = ["app"]
