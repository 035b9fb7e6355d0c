#!/bin/sh
# What the container runs: the database is brought up to date, then gunicorn takes this process.
set -eu
python manage.py migrate --no-input
exec gunicorn --config gunicorn.conf.py
