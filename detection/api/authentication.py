from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed


class BearerAuthentication(TokenAuthentication):
    """``Authorization: Bearer <token>``, with a token of ``manage.py create_token``."""

    def authenticate_credentials(self, token: bytes) -> tuple:
        if not token.isascii():
            raise AuthenticationFailed("This token is not valid.")
        try:
            return super().authenticate_credentials(token)
        except AuthenticationFailed as error:
            raise AuthenticationFailed(
                "This token is not valid; it may have expired or been revoked."
            ) from error


class BearerScheme(OpenApiAuthenticationExtension):
    """What the OpenAPI document says about it."""

    target_class = BearerAuthentication
    name = "bearerAuth"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "A token made with `manage.py create_token USER` or in the admin."
        return {"type": "http", "scheme": "bearer", "description": description}
