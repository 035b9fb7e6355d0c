"""Totals of each day and of all days, counted from the records that there are, day by day."""

from collections import Counter, defaultdict

from django.db import migrations, models

from detection.recounting import days_of, records_of
from detection.totals import EVER, by_field, tally


def fill_totals(apps, schema_editor):
    alias = schema_editor.connection.alias
    predictions = apps.get_model("detection", "Prediction").objects.using(alias)
    model = apps.get_model("detection", "Total")
    all_days = defaultdict(Counter)
    for day in days_of(predictions):
        counted = tally(records_of(predictions, day))
        for row in [row for row in counted if row.span == EVER]:
            all_days[row].update(counted.pop(row))
        _write(model.objects.using(alias), counted)
    _write(model.objects.using(alias), all_days)


def _write(rows, counted):
    rows.bulk_create(
        rows.model(
            id=row.key,
            owner=row.owner,
            span=row.span,
            model_version=row.model_version,
            **by_field(counts),
        )
        for row, counts in counted.items()
    )


class Migration(migrations.Migration):

    dependencies = [("detection", "0004_moderators")]

    operations = [
        migrations.CreateModel(
            name="Total",
            fields=[
                ("id", models.CharField(editable=False, max_length=120, primary_key=True, serialize=False)),
                ("owner", models.CharField(blank=True, help_text="Empty: everybody's", max_length=32)),
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
