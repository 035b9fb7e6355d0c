from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from detection.errors import database_errors
from detection.management.arguments import positive_int
from detection.management.base import ServiceCommand
from detection.models import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS, AccessToken


class Command(ServiceCommand):
    help = (
        "Creates a token with which a program uses the API as USER, and prints the token once. "
        "The admin lists and revokes tokens."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="name of an active user")
        parser.add_argument(
            "--name",
            default="command line",
            help="name of the program that uses the token; default: command line",
        )
        parser.add_argument(
            "--days",
            type=positive_int,
            default=DEFAULT_TOKEN_DAYS,
            help=f"days until the token expires; default: {DEFAULT_TOKEN_DAYS}",
        )

    def handle(self, *args: Any, user: str, name: str, days: int, **options: Any) -> None:
        if days > MAX_TOKEN_DAYS:
            raise CommandError(f"A token is valid for {MAX_TOKEN_DAYS} days at most.")
        users = get_user_model().objects
        with database_errors():
            owner = users.filter(username=user, is_active=True).first()
            if owner is None:
                raise CommandError(f"There is no active user {user!r}.")
            lifetime = timedelta(days=days)
            _, text = AccessToken.objects.create(user=owner, name=name, expiry=lifetime)
        self.stdout.write(text)
