"""Indexes that have the whole filter and order of the review queue, of equal bytes, of tokens, and
of an owner's part of a day.
"""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0001_records'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='prediction',
            name='prediction_queue',
        ),
        migrations.RemoveIndex(
            model_name='prediction',
            name='prediction_duplicate',
        ),
        migrations.AddIndex(
            model_name='accesstoken',
            index=models.Index(fields=['-created'], name='token_created'),
        ),
        migrations.AddIndex(
            model_name='prediction',
            index=models.Index(fields=['review_status', 'reason', '-disputed', 'margin', 'id'], name='prediction_queue'),
        ),
        migrations.AddIndex(
            model_name='prediction',
            index=models.Index(fields=['sha256', '-id', 'model_version'], name='prediction_duplicate'),
        ),
        migrations.AddIndex(
            model_name='prediction',
            index=models.Index(fields=['owner', 'created_at'], name='prediction_owner_created'),
        ),
    ]
