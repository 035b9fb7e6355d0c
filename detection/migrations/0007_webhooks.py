from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0006_queued_images'),
    ]

    operations = [
        migrations.AddField(
            model_name='predictionbatch',
            name='webhook_delivered_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='predictionbatch',
            name='webhook_due_at',
            field=models.DateTimeField(blank=True, help_text='Empty: not done, delivered, or given up', null=True),
        ),
        migrations.AddField(
            model_name='predictionbatch',
            name='webhook_error',
            field=models.CharField(blank=True, help_text='Why the last try was not successful', max_length=200),
        ),
        migrations.AddField(
            model_name='predictionbatch',
            name='webhook_tries',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='predictionbatch',
            name='webhook_url',
            field=models.CharField(blank=True, max_length=2000),
        ),
        migrations.AddIndex(
            model_name='predictionbatch',
            index=models.Index(fields=['webhook_due_at'], name='batch_webhook_due'),
        ),
    ]
