"""Access tokens in the admin."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from detection.admin.declared_filters import DeclaredFiltersAdmin
from detection.models import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS, AccessToken


class AccessTokenForm(forms.ModelForm):
    days = forms.IntegerField(min_value=1, max_value=MAX_TOKEN_DAYS, initial=DEFAULT_TOKEN_DAYS)

    class Meta:
        model = AccessToken
        fields = ["user", "name"]


@admin.register(AccessToken)
class AccessTokenAdmin(DeclaredFiltersAdmin):
    """Tokens are created and revoked here, never changed."""

    form = AccessTokenForm
    list_display = ["name", "user", "begins_with", "created", "expiry"]
    search_fields = ["name", "token_key"]
    raw_id_fields = ["user"]  # the autocompletion has no name for screen readers

    def begins_with(self, token: AccessToken) -> str:
        return f"{token.token_key[:8]}…"

    def has_change_permission(self, request: HttpRequest, obj=None) -> bool:
        return False

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        """Delete one by one: MongoDB cannot delete through the list's join with users."""
        for token in queryset:
            token.delete()

    def save_model(
        self, request: HttpRequest, obj: AccessToken, form: AccessTokenForm, *change: object
    ) -> None:
        """Create the token. Its text is not stored: ``obj.text`` has it for the answer."""
        lifetime = timedelta(days=form.cleaned_data["days"])
        token, obj.text = AccessToken.objects.create(obj.user, lifetime, name=obj.name)
        obj.pk = token.pk
        obj.refresh_from_db()

    def response_add(
        self, request: HttpRequest, obj: AccessToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token in this answer only: a message would put it into a cookie."""
        context = {
            **self.admin_site.each_context(request),
            "title": "New access token",
            "opts": self.opts,
            "token": obj,
        }
        return TemplateResponse(request, "admin/detection/accesstoken/created.html", context)
