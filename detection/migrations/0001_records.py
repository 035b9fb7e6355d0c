"""All tables of the service, and the group of moderators."""

import datetime
import detection.models
import django.db.models.deletion
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models

MODERATORS = "Moderators"
PERMISSIONS = ("view_prediction", "view_predictionbatch", "review_prediction")


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
    """Create the permissions now. Django itself creates them only after the last migration."""
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, verbosity=0, apps=apps, using=alias)
    config.models_module = None


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ("auth", "__latest__"),
        ("contenttypes", "__latest__"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='PerceptualHash',
            fields=[
                ('id', models.CharField(db_column='_id', editable=False, max_length=28, primary_key=True, serialize=False)),
                ('bits', models.CharField(help_text='256 bits, hexadecimal', max_length=64)),
                ('band_0', models.PositiveIntegerField(db_index=True)),
                ('band_1', models.PositiveIntegerField(db_index=True)),
                ('band_2', models.PositiveIntegerField(db_index=True)),
                ('band_3', models.PositiveIntegerField(db_index=True)),
            ],
            options={
                'verbose_name_plural': 'perceptual hashes',
                'db_table': 'perceptual_hashes',
            },
        ),
        migrations.CreateModel(
            name='RefusalCount',
            fields=[
                ('id', models.CharField(db_column='_id', editable=False, max_length=80, primary_key=True, serialize=False)),
                ('day', models.DateField(db_index=True)),
                ('source', models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10)),
                ('code', models.CharField(help_text="As in the API's errors", max_length=40)),
                ('count', models.PositiveIntegerField(default=0)),
            ],
            options={
                'db_table': 'refusal_counts',
            },
        ),
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('token_key', models.CharField(db_index=True, max_length=25)),
                ('created', models.DateTimeField(auto_now_add=True)),
                ('expiry', models.DateTimeField(blank=True, null=True)),
                ('digest', models.CharField(db_column='_id', editable=False, max_length=128, primary_key=True, serialize=False)),
                ('name', models.CharField(help_text='What uses it, for example: newsroom CMS', max_length=100)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='auth_token_set', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'access_tokens',
                'ordering': ['-created'],
            },
        ),
        migrations.CreateModel(
            name='PredictionBatch',
            fields=[
                ('batch_id', models.CharField(db_column='_id', default=detection.models.new_id, editable=False, max_length=26, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed')], default='queued', max_length=10)),
                ('total_images', models.PositiveIntegerField()),
                ('successful', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('errors', models.JSONField(blank=True, default=list, help_text='One object per refused image: index, filename, error, code')),
                ('source', models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10)),
                ('created_at', models.DateTimeField(default=detection.models.now, editable=False)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('sending', models.CharField(blank=True, choices=[('open', 'More images may follow'), ('complete', 'All images were sent'), ('broken', 'The sender stopped in the middle')], help_text='Empty: its images were never queued', max_length=10)),
                ('threshold', models.FloatField(blank=True, help_text="For queued images; empty: that of the checkpoint", null=True)),
                ('all_frames', models.BooleanField(default=False, help_text='For queued images: judge all frames and pages, not only the first')),
                ('webhook_url', models.CharField(blank=True, max_length=2000)),
                ('webhook_tries', models.PositiveIntegerField(default=0)),
                ('webhook_due_at', models.DateTimeField(blank=True, help_text='Empty: not done, delivered, or given up', null=True)),
                ('webhook_delivered_at', models.DateTimeField(blank=True, null=True)),
                ('webhook_error', models.CharField(blank=True, help_text='Why the last try failed', max_length=200)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='prediction_batches', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'prediction batches',
                'db_table': 'prediction_batches',
                'indexes': [
                    models.Index(fields=['status', '-batch_id'], name='batch_status'),
                    models.Index(fields=['source', '-batch_id'], name='batch_source'),
                    models.Index(fields=['webhook_due_at'], name='batch_webhook_due'),
                ],
                'ordering': ['-batch_id'],
            },
        ),
        migrations.CreateModel(
            name='Prediction',
            fields=[
                ('id', models.CharField(db_column='_id', default=detection.models.new_id, editable=False, max_length=26, primary_key=True, serialize=False)),
                ('batch_index', models.PositiveIntegerField(blank=True, help_text='Place of the image in its batch, from 0', null=True)),
                ('source', models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10)),
                ('source_url', models.CharField(blank=True, help_text='URL that the image was fetched from; empty: the image was sent', max_length=2000)),
                ('duplicate_of', models.CharField(blank=True, help_text='An earlier prediction on the same bytes, whose score was used again', max_length=26)),
                ('original_filename', models.CharField(max_length=255)),
                ('searched_name', detection.models.SearchedName(editable=False, max_length=765)),
                ('result_filename', models.CharField(max_length=255)),
                ('result_image', models.FileField(max_length=255, upload_to='')),
                ('original_image', models.FileField(blank=True, max_length=255, upload_to='')),
                ('heatmap_image', models.FileField(blank=True, max_length=255, upload_to='')),
                ('sha256', models.CharField(max_length=64)),
                ('size_bytes', models.PositiveBigIntegerField()),
                ('width', models.PositiveIntegerField()),
                ('height', models.PositiveIntegerField()),
                ('image_format', models.CharField(max_length=10)),
                ('damaged', models.BooleanField(default=False, help_text='Up to 1 % of the pixels are not in the file')),
                ('frames', models.PositiveIntegerField(default=1, help_text='Frames of the animation, or pages of the document')),
                ('frame', models.PositiveIntegerField(default=1, help_text='The frame or page with this score, from 1')),
                ('judged_frames', models.PositiveSmallIntegerField(default=1, help_text='How many frames or pages were judged; the score is their highest')),
                ('camera', models.CharField(blank=True, help_text="From the metadata of the file", max_length=100)),
                ('software', models.CharField(blank=True, help_text="From the metadata of the file", max_length=100)),
                ('provenance', models.JSONField(blank=True, default=dict, help_text='Claims of the file; empty: never inspected')),
                ('declares', models.CharField(blank=True, choices=[('generated', 'Generated'), ('edited', 'Edited with generated parts'), ('captured', 'Taken with a camera')], help_text='What the file says of its origin', max_length=10)),
                ('disputed', models.BooleanField(default=False, editable=False, help_text="The model's label contradicts what the file says of its origin")),
                ('label', models.CharField(choices=[('REAL', 'Real'), ('FAKE', 'Fake')], max_length=4)),
                ('fake_score', models.FloatField(help_text='0 is surely real, 1 is surely fake')),
                ('threshold', models.FloatField(help_text='Above this score, the label is FAKE')),
                ('margin', models.FloatField(editable=False, help_text='Distance of the score from the threshold: 0 is least certain')),
                ('uncertain', models.BooleanField()),
                ('reason', models.CharField(blank=True, choices=[('too_small', 'Too small'), ('no_content', 'Nothing to see')], help_text='Why the image cannot be judged', max_length=10)),
                ('agreement', models.CharField(blank=True, choices=[('agrees', 'Agrees with a look-alike'), ('contradicts', 'Contradicts a look-alike')], help_text='Empty: this model had not judged a similar picture before', max_length=11)),
                ('model_name', models.CharField(max_length=100)),
                ('model_version', models.CharField(max_length=64)),
                ('duration_ms', models.PositiveIntegerField(help_text='Decoding and detection, in milliseconds')),
                ('created_at', models.DateTimeField(default=detection.models.now, editable=False)),
                ('updated_at', models.DateTimeField(default=detection.models.now, editable=False, help_text='When it was judged, or when a reviewer changed it')),
                ('review_status', models.CharField(choices=[('unreviewed', 'Unreviewed'), ('confirmed', 'Confirmed'), ('overturned', 'Overturned')], default='unreviewed', max_length=10)),
                ('reviewed_at', models.DateTimeField(blank=True, null=True)),
                ('review_note', models.TextField(blank=True, max_length=2000)),
                ('review_revision', models.PositiveIntegerField(default=0, help_text='Increases with each claim and decision')),
                ('claimed_until', models.DateTimeField(blank=True, null=True)),
                ('claimed_by', models.ForeignKey(blank=True, db_index=False, help_text='The moderator who is reviewing it', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('owner', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='predictions', to=settings.AUTH_USER_MODEL)),
                ('reviewer', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='reviewed_predictions', to=settings.AUTH_USER_MODEL)),
                ('batch', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='predictions', to='detection.predictionbatch')),
            ],
            options={
                'db_table': 'predictions',
                'indexes': [
                    models.Index(fields=['owner', '-id'], name='prediction_owner'),
                    models.Index(fields=['label', '-id'], name='prediction_label'),
                    models.Index(fields=['review_status', '-id'], name='prediction_review'),
                    models.Index(fields=['uncertain', '-id'], name='prediction_uncertain'),
                    models.Index(fields=['batch', '-id'], name='prediction_batch'),
                    models.Index(fields=['source', '-id'], name='prediction_source'),
                    models.Index(fields=['model_version', '-id'], name='prediction_model'),
                    models.Index(fields=['declares', '-id'], name='prediction_declares'),
                    models.Index(fields=['-id', 'fake_score'], name='prediction_score'),
                    models.Index(fields=['agreement', '-id'], name='prediction_agreement'),
                    models.Index(fields=['batch', 'batch_index'], name='prediction_batch_index'),
                    models.Index(fields=['review_status', '-disputed', 'margin', 'id'], name='prediction_queue'),
                    models.Index(fields=['sha256', 'model_version'], name='prediction_duplicate'),
                    models.Index(fields=['created_at'], name='prediction_created'),
                ],
                'ordering': ['-id'],
                'permissions': [('review_prediction', 'Can review predictions')],
            },
        ),
        migrations.CreateModel(
            name='QueuedImage',
            fields=[
                ('id', models.CharField(db_column='_id', default=detection.models.new_id, editable=False, max_length=26, primary_key=True, serialize=False)),
                ('batch_index', models.PositiveIntegerField(help_text='Place of the image in its batch, from 0')),
                ('filename', models.CharField(max_length=255)),
                ('source_url', models.CharField(blank=True, max_length=2000)),
                ('original_image', models.FileField(blank=True, max_length=255, upload_to='')),
                ('size_bytes', models.PositiveBigIntegerField(default=0, help_text='Of the stored file')),
                ('quota', models.CharField(blank=True, help_text='Whose quota it counts for; empty: no quota', max_length=32)),
                ('leased_by', models.CharField(blank=True, help_text='The lease of the worker that is judging it', max_length=26)),
                ('leased_until', models.DateTimeField(default=datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), help_text='Then another worker may judge it')),
                ('tries', models.PositiveSmallIntegerField(default=0, help_text='How often it was leased')),
                ('code', models.CharField(blank=True, help_text='Why it was refused', max_length=40)),
                ('error', models.TextField(blank=True, help_text='Why it was refused, in a sentence')),
                ('batch', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='queued_images', to='detection.predictionbatch')),
            ],
            options={
                'db_table': 'queued_images',
                'indexes': [
                    models.Index(fields=['batch', 'code', 'batch_index'], name='queued_batch'),
                    models.Index(fields=['code', 'leased_until'], name='queued_lease'),
                    models.Index(fields=['quota', 'size_bytes'], name='queued_quota'),
                ],
            },
        ),
        migrations.CreateModel(
            name='Total',
            fields=[
                ('id', models.CharField(db_column='_id', editable=False, max_length=120, primary_key=True, serialize=False)),
                ('owner', models.CharField(blank=True, help_text="Empty: all users", max_length=32)),
                ('kind', models.CharField(help_text='usage, or the spread of scores and latencies', max_length=8)),
                ('span', models.CharField(help_text='A day in UTC, as 2026-11-22, or: ever', max_length=10)),
                ('model_version', models.CharField(max_length=64)),
                ('counts', models.JSONField(default=dict)),
                ('score_sums', models.JSONField(default=dict)),
                ('declared', models.JSONField(default=dict)),
                ('score_bins', models.JSONField(default=dict)),
                ('latencies', models.JSONField(default=dict)),
                ('revision', models.PositiveBigIntegerField(default=0, help_text='Increases with each change')),
            ],
            options={
                'db_table': 'totals',
                'indexes': [models.Index(fields=['span'], name='total_span')],
            },
        ),
        migrations.RunPython(create_moderators, migrations.RunPython.noop),
    ]
