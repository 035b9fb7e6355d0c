"""The REST API. Pages read parameters and turn the pages of the history as the API does."""

from detection.api.pagination import CursorField, newest_first
from detection.api.parameters import validated
