"""The REST API. The pages validate parameters and page through the history with its functions."""

from detection.api.pagination import CursorField, newest_first
from detection.api.parameters import validated
