"""Totals of each day and of all days, counted from the records that there are, day by day.

As they were counted then: ``detection.records.totals`` may count more since.
"""

from collections import Counter, defaultdict
from datetime import UTC, datetime, time, timedelta

from django.db import migrations, models

FIELDS_OF = {"usage": ("counts", "score_sums"), "spread": ("score_bins", "latencies")}
COUNTED = (
    "label",
    "uncertain",
    "review_status",
    "fake_score",
    "duration_ms",
    "duplicate_of",
    "owner_id",
    "model_version",
    "created_at",
)


def fill_totals(apps, schema_editor):
    alias = schema_editor.connection.alias
    predictions = apps.get_model("detection", "Prediction").objects.using(alias)
    rows = apps.get_model("detection", "Total").objects.using(alias)
    all_days = defaultdict(Counter)
    for day in _days(predictions):
        counted = _count(predictions.filter(created_at__gte=day, created_at__lt=_next(day)))
        for (owner, model_version), counts in counted.items():
            all_days[owner, model_version].update(counts)
        _write(rows, str(day.date()), counted)
    _write(rows, "ever", all_days)


def _days(predictions):
    made = predictions.values_list("created_at", flat=True)
    first, last = made.order_by("created_at").first(), made.order_by("-created_at").first()
    if first:
        day = datetime.combine(first.astimezone(UTC).date(), time(), UTC)
        while day <= last:
            yield day
            day = _next(day)


def _next(day):
    return day + timedelta(days=1)


def _count(predictions):
    """By owner and model version; those of owners are everybody's too."""
    counted = defaultdict(Counter)
    for record in predictions.order_by().values_list(*COUNTED, named=True).iterator():
        share = _share(record)
        counted["", record.model_version].update(share)
        if record.owner_id:
            counted[str(record.owner_id), record.model_version].update(share)
    return counted


def _share(record):
    """What a prediction adds, by field and name."""
    certainty = "uncertain" if record.uncertain else "certain"
    group = f"{record.label}/{certainty}/{record.review_status}"
    place = min(int(record.fake_score * 20), 19)
    share = {
        ("counts", group): 1,
        ("score_sums", group): round(record.fake_score * 10**9),
        ("score_bins", f"{record.label}/{place}"): 1,
    }
    if not record.duplicate_of:
        unit = 10 ** max(len(str(record.duration_ms)) - 2, 0)
        share["latencies", str((record.duration_ms + unit // 2) // unit * unit)] = 1
    return share


def _write(rows, span, counted):
    rows.bulk_create(
        rows.model(
            id=f"{owner}/{kind}/{span}/{model_version}",
            owner=owner,
            kind=kind,
            span=span,
            model_version=model_version,
            **_by_field(counts, fields),
        )
        for (owner, model_version), counts in counted.items()
        for kind, fields in FIELDS_OF.items()
    )


def _by_field(counts, fields):
    return {
        field: {name: number for (of, name), number in counts.items() if of == field and number}
        for field in fields
    }


class Migration(migrations.Migration):

    dependencies = [("detection", "0004_moderators")]

    operations = [
        migrations.CreateModel(
            name="Total",
            fields=[
                ("id", models.CharField(editable=False, max_length=120, primary_key=True, serialize=False)),
                ("owner", models.CharField(blank=True, help_text="Empty: everybody's", max_length=32)),
                ("kind", models.CharField(help_text="usage, or the spread of scores and latencies", max_length=8)),
                ("span", models.CharField(help_text="A day in UTC, as 2026-11-22, or: ever", max_length=10)),
                ("model_version", models.CharField(max_length=64)),
                ("counts", models.JSONField(default=dict)),
                ("score_sums", models.JSONField(default=dict)),
                ("score_bins", models.JSONField(default=dict)),
                ("latencies", models.JSONField(default=dict)),
                ("revision", models.PositiveBigIntegerField(default=0, help_text="Goes up with each change")),
            ],
            options={
                "db_table": "totals",
                "indexes": [models.Index(fields=["span"], name="total_span")],
            },
        ),
        migrations.RunPython(fill_totals, migrations.RunPython.noop),
    ]
