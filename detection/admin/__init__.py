"""The admin, one file per kind of page. Importing a module registers its records."""

from detection.admin import batches, predictions, tokens
