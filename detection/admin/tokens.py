"""Access tokens in the admin."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from detection.admin.declared_filters import DeclaredFiltersAdmin
from detection.models import AccessToken
from detection.records import DEFAULT_DAYS, MAX_DAYS, create_token


class AccessTokenForm(forms.ModelForm):
    days = forms.IntegerField(min_value=1, max_value=MAX_DAYS, initial=DEFAULT_DAYS, label="Days")

    class Meta:
        model = AccessToken
        fields = ["user", "name"]

    def save(self, commit: bool = True) -> AccessToken:  # noqa: FBT001, FBT002  Django's signature
        token, self.text = create_token(
            user=self.cleaned_data["user"],
            name=self.cleaned_data["name"],
            lifetime=timedelta(days=self.cleaned_data["days"]),
        )
        return token

    def save_m2m(self) -> None:
        """Do nothing: a token has no such fields, but the admin calls this method."""


@admin.register(AccessToken)
class AccessTokenAdmin(DeclaredFiltersAdmin):
    """Tokens are created and revoked here, never changed."""

    form = AccessTokenForm
    list_display = ["name", "user", "begins_with", "created", "expiry"]
    search_fields = ["name", "token_key"]
    raw_id_fields = ["user"]  # the autocompletion has no name for screen readers

    @admin.display(description="begins with")
    def begins_with(self, token: AccessToken) -> str:
        return f"{token.token_key[:8]}…"

    def has_change_permission(self, request: HttpRequest, obj=None) -> bool:
        return False

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        """Delete one by one: MongoDB cannot delete through the list's join with users."""
        for token in queryset:
            token.delete()

    def save_model(
        self,
        request: HttpRequest,
        obj: AccessToken,
        form: AccessTokenForm,
        change: bool,  # noqa: FBT001  Django's signature
    ) -> None:
        """Show the token, which the form has saved."""
        text = f"The token is {form.text}. Copy it now: it cannot be shown again."
        messages.warning(request, text)
