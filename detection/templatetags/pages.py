from __future__ import annotations

from django import template

from detection.judging import detector_info, detector_notice

register = template.Library()


@register.simple_tag
def model_in_use() -> str:
    """Name and version of the model that judges now; empty where there is none."""
    info = detector_info()
    return f"{info.name} {info.version}" if info else ""


@register.simple_tag
def notice_of_model() -> str:
    """Why another model than the default judges now; empty where none does."""
    return detector_notice() or "" if detector_info() else ""
