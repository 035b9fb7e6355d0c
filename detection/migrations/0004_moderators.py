"""The group of those who review, and what they need to know of the verdicts given until now."""

from itertools import islice

from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.models import F
from django.db.models.functions import Abs

MODERATORS = "Moderators"
PERMISSIONS = ("view_prediction", "view_predictionbatch", "review_prediction")
STEP = 1000


def create_moderators(apps, schema_editor):
    alias = schema_editor.connection.alias
    _create_missing_permissions(apps, alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    moderators, _ = apps.get_model("auth", "Group").objects.using(alias).get_or_create(
        name=MODERATORS
    )
    for codename in PERMISSIONS:
        moderators.permissions.add(permissions.get(codename=codename))


def _create_missing_permissions(apps, alias):
    """Django itself makes them only after the last migration."""
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, verbosity=0, apps=apps, using=alias)
    config.models_module = None


def fill_records(apps, schema_editor):
    predictions = apps.get_model("detection", "Prediction").objects.using(
        schema_editor.connection.alias
    )
    ids = predictions.order_by("pk").values_list("pk", flat=True).iterator()
    while step := list(islice(ids, STEP)):
        margin = Abs(F("fake_score") - F("threshold"))
        predictions.filter(pk__in=step).update(margin=margin, updated_at=F("created_at"))


class Migration(migrations.Migration):

    dependencies = [
        ("detection", "0003_reviews"),
        ("auth", "__latest__"),
        ("contenttypes", "__latest__"),
    ]

    operations = [
        migrations.RunPython(create_moderators, migrations.RunPython.noop),
        migrations.RunPython(fill_records, migrations.RunPython.noop),
    ]
