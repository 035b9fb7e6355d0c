"""Tags about the model in use, and filters for percentages."""

from __future__ import annotations

from django import template

from detection.judging import detector_info, detector_notice, percentage

register = template.Library()
register.filter(percentage)


@register.simple_tag
def model_in_use() -> str:
    """Return name and version of the model that judges now; empty without a model."""
    info = detector_info()
    return f"{info.name} {info.version}" if info else ""


@register.simple_tag
def notice_of_model() -> str:
    """Return why another model judges in place of the default; empty otherwise."""
    if detector_info() is None:  # loads the detector, which the notice is about
        return ""
    return detector_notice() or ""


@register.filter
def percent(share: float) -> float:
    """Return a share in percent, to one digit."""
    return round(100 * float(share), 1)
