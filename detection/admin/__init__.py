"""The admin, one file per kind of page; importing them registers them."""

from detection.admin import batches, predictions, tokens

__all__ = ["batches", "predictions", "tokens"]
