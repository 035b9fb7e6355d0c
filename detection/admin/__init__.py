"""The admin, one file per kind of page; importing them registers them."""

__all__ = ["batches", "predictions", "tokens"]
