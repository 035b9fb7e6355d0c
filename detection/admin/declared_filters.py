"""Lists are selected by their declared filters and by the search, never by other lookups.

Django allows any lookup of a field in the address of a list. A pattern (``__regex``) may occupy the
process for minutes, and ``__startswith`` tells letter by letter what a page hides.
"""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ListFilter
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest


class DeclaredFiltersAdmin(admin.ModelAdmin):
    """The base of each list. Any parameter that is of no declared filter is a 400."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        declared = self.get_list_filter(request)
        return any(lookup in self._parameters(each, request) for each in declared)

    def _parameters(self, declared: str | type[ListFilter], request: HttpRequest) -> list[str]:
        if not isinstance(declared, str):
            return declared(request, {}, self.model, self).expected_parameters()
        field = self.model._meta.get_field(declared)
        value = f"{declared}__{field.target_field.name}" if field.is_relation else declared
        return [f"{value}__exact", f"{declared}__isnull"]


admin.site.unregister([Group, User])


@admin.register(Group)
class DeclaredFiltersGroupAdmin(DeclaredFiltersAdmin, GroupAdmin):
    pass


@admin.register(User)
class DeclaredFiltersUserAdmin(DeclaredFiltersAdmin, UserAdmin):
    pass
