"""Authenticate programs by tokens, and people by sessions."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request


def owner_of(request: Request) -> AbstractUser | None:
    """Return the owner of records that the request makes; None without an account."""
    return request.user if request.user.is_authenticated else None


class BearerAuthentication(TokenAuthentication):
    """Accept ``Authorization: Bearer <token>`` with a token of ``manage.py create_token``."""

    def authenticate_credentials(self, token: bytes) -> tuple:
        if not token.isascii():
            raise AuthenticationFailed("This token is not valid.")
        try:
            return super().authenticate_credentials(token)
        except AuthenticationFailed as error:
            raise AuthenticationFailed(
                "This token is not valid. It may have expired, or been revoked."
            ) from error


class BearerScheme(OpenApiAuthenticationExtension):
    """The OpenAPI document's description of BearerAuthentication."""

    target_class = BearerAuthentication
    name = "bearerAuth"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "A token made with `manage.py create_token USER` or in the admin."
        return {"type": "http", "scheme": "bearer", "description": description}


class FormAuthentication(SessionAuthentication):
    """Accept the session of a person who signed in with a browser."""

    def enforce_csrf(self, request: Request) -> None:
        """Raise UnreadablePostError for a body that ends early. Django's check ignores that, and
        the view would get an empty form.
        """
        if request.method == "POST":
            request.POST  # noqa: B018  raises UnreadablePostError
        super().enforce_csrf(request)


class FormScheme(SessionScheme):
    target_class = FormAuthentication
