"""Filters for what files say of their origin."""

from __future__ import annotations

from typing import Any

from django import template

from detection.provenance import TRUST_WORDS

register = template.Library()


@register.filter
def trust_words(claim: dict[str, Any]) -> str:
    """Return in words whether a claim is signed, and whether the signer is trusted."""
    return f"{TRUST_WORDS[claim['trust']]} {claim['why']}".rstrip()


@register.filter
def fact_name(key: str) -> str:
    """Return a key in words: ``negative_prompt`` as ``negative prompt``."""
    return key.replace("_", " ")
