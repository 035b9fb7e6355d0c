#!/bin/sh
# The command of the container: migrate the database, then replace this process with gunicorn.
set -eu
python manage.py migrate --no-input
exec gunicorn --config gunicorn.conf.py
