
import detection.models
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0002_access_tokens_and_duplicates'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='RefusalCount',
            fields=[
                ('id', models.CharField(editable=False, max_length=80, primary_key=True, serialize=False)),
                ('day', models.DateField(db_index=True)),
                ('source', models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10)),
                ('code', models.CharField(help_text="As in the API's errors", max_length=40)),
                ('count', models.PositiveIntegerField(default=0)),
            ],
            options={
                'db_table': 'refusal_counts',
            },
        ),
        migrations.AlterModelOptions(
            name='prediction',
            options={'ordering': ['-created_at', '-id'], 'permissions': [('review_prediction', 'Can review predictions')]},
        ),
        migrations.AddField(
            model_name='prediction',
            name='camera',
            field=models.CharField(blank=True, help_text="As the file's metadata say", max_length=100),
        ),
        migrations.AddField(
            model_name='prediction',
            name='claimed_by',
            field=models.ForeignKey(blank=True, db_index=False, help_text='Who has it on the screen to review it', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='prediction',
            name='claimed_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='prediction',
            name='margin',
            field=models.FloatField(default=0.0, editable=False, help_text='Distance of the score from the threshold: 0 is least certain'),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='prediction',
            name='review_revision',
            field=models.PositiveIntegerField(default=0, help_text='Goes up with each claim and decision; what saw an older one is stale'),
        ),
        migrations.AddField(
            model_name='prediction',
            name='updated_at',
            field=models.DateTimeField(default=detection.models.now, editable=False, help_text='When it was judged, or when a reviewer changed it'),
        ),
        migrations.AddField(
            model_name='prediction',
            name='software',
            field=models.CharField(blank=True, help_text="As the file's metadata say", max_length=100),
        ),
        migrations.AlterField(
            model_name='prediction',
            name='review_note',
            field=models.TextField(blank=True, max_length=2000),
        ),
        migrations.AlterField(
            model_name='prediction',
            name='source',
            field=models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10),
        ),
        migrations.AlterField(
            model_name='predictionbatch',
            name='source',
            field=models.CharField(choices=[('api', 'API'), ('batch', 'Batch'), ('scan', 'Folder scan'), ('page', 'Page'), ('rerun', 'Judged again')], max_length=10),
        ),
        migrations.AddIndex(
            model_name='prediction',
            index=models.Index(fields=['review_status', 'margin', 'id'], name='prediction_queue'),
        ),
        migrations.AddIndex(
            model_name='prediction',
            index=models.Index(fields=['model_version', '-created_at', '-id'], name='prediction_model'),
        ),
    ]
