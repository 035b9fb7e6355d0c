"""Filters of the admin's lists. No filter needs a query for its choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.contrib.admin import ChoicesFieldListFilter, ListFilter, ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from detection.models import now
from detection.records import sent_between

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Input:
    """One field of a filter: its parameter, label, type and current value."""

    name: str
    label: str
    type: str
    value: str = ""


class TypedFilter(ListFilter):
    """A filter by typed values, as a small form. Other filters of the list stay in force."""

    template = "admin/detection/typed_filter.html"
    inputs: tuple[Input, ...] = ()

    def __init__(
        self,
        request: HttpRequest,
        params: dict[str, list[str]],
        model: type[Model],
        model_admin: ModelAdmin,
    ) -> None:
        super().__init__(request, params, model, model_admin)
        for each in self.inputs:
            text = params.pop(each.name, [""])[-1].strip()
            if text:
                self.used_parameters[each.name] = text

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str]:
        return [each.name for each in self.inputs]

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, object]]:
        """Yield one entry with everything: Django's tag gives the template nothing else."""
        own = self.expected_parameters()
        yield {
            "inputs": [
                Input(each.name, each.label, each.type, self.used_parameters.get(each.name, ""))
                for each in self.inputs
            ],
            "others": [
                (name, value)
                for name, values in changelist.filter_params.items()
                if name not in own
                for value in values
            ],
            "links": [
                (label, changelist.get_query_string(parameters, remove=own))
                for label, parameters in self.links()
            ],
            "clear": changelist.get_query_string(remove=own) if self.used_parameters else None,
        }

    def links(self) -> list[tuple[str, dict[str, str]]]:
        """Return label and parameters of common values."""
        return []


class DateRange(TypedFilter):
    """Whole days in UTC, the first and the last included."""

    title = "time"
    inputs = (Input("from", "From", "date"), Input("to", "To", "date"))

    def links(self) -> list[tuple[str, dict[str, str]]]:
        today = now().astimezone(UTC).date()
        spans = (("Today", 0), ("7 days", 6), ("30 days", 29))
        return [(label, {"from": str(today - days * DAY)}) for label, days in spans]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        start = self._midnight("from") if "from" in self.used_parameters else None
        end = self._midnight("to", days=1) if "to" in self.used_parameters else None
        return sent_between(queryset, start=start, end=end)

    def _midnight(self, name: str, *, days: int = 0) -> datetime:
        try:
            day = date.fromisoformat(self.used_parameters[name]) + days * DAY
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters from error
        return datetime.combine(day, time(), UTC)


class ScoreRange(TypedFilter):
    title = "fake score in %"
    inputs = (Input("min_score", "Lowest", "number"), Input("max_score", "Highest", "number"))

    def links(self) -> list[tuple[str, dict[str, str]]]:
        spans = (("0–20", "0", "20"), ("20–80", "20", "80"), ("80–100", "80", "100"))
        return [(label, {"min_score": low, "max_score": high}) for label, low, high in spans]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if "min_score" in self.used_parameters:
            queryset = queryset.filter(fake_score__gte=self._share("min_score"))
        if "max_score" in self.used_parameters:
            queryset = queryset.filter(fake_score__lte=self._share("max_score"))
        return queryset

    def _share(self, name: str) -> float:
        try:
            return float(self.used_parameters[name]) / 100
        except ValueError as error:
            raise IncorrectLookupParameters from error


class ModelVersion(TypedFilter):
    """A version, typed or clicked in a row of the list: a query for all versions would be slow."""

    title = "model version"
    inputs = (Input("model_version", "Version", "text"),)

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(**self.used_parameters)


class FileSays(ChoicesFieldListFilter):
    """Choices of a field, under a title in place of the field's name."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.title = "what the file says"


class OfBatch(SimpleListFilter):
    """One batch. Visible only when the list was opened for a batch."""

    title = "batch"
    parameter_name = "batch"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [(self.value(), self.value())] if self.value() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(batch=self.value()) if self.value() else queryset


class Uncertain(SimpleListFilter):
    title = "uncertain"
    parameter_name = "uncertain__exact"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        return [("1", "Yes"), ("0", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() is None:
            return queryset
        if self.value() not in ("0", "1"):
            raise IncorrectLookupParameters
        # In a list: for a boolean alone SQLite uses no index.
        return queryset.filter(uncertain__in=[self.value() == "1"])
