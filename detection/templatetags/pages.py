from __future__ import annotations

from django import template

from detection.apps import detector_notice, get_detector
from detection.d3.errors import D3Error

register = template.Library()


@register.simple_tag
def model_in_use() -> str:
    """Name and version of the model that judges now; empty where there is none."""
    try:
        info = get_detector().info
    except D3Error:
        return ""
    return f"{info.name} {info.version}"


@register.simple_tag
def notice_of_model() -> str:
    """Why another model than the default judges now; empty where none does."""
    try:
        get_detector()
    except D3Error:
        return ""
    return detector_notice() or ""
