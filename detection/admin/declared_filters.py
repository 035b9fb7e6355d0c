"""Lists that allow only their declared filters and the search in their address.

Django allows any lookup of a field there. A pattern (``__regex``) may occupy the process for
minutes, and ``__startswith`` reveals letter by letter what a page hides.
"""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import FieldListFilter, ListFilter
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

# As in list_filter: a filter, or a field, alone or with the filter that shows it
DeclaredFilter = str | type[ListFilter] | tuple[str, type[FieldListFilter]]


class DeclaredFiltersAdmin(admin.ModelAdmin):
    """Base of each list. A parameter that belongs to no declared filter is a 400."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        declared = self.get_list_filter(request)
        return any(lookup in self._parameters(each, request) for each in declared)

    def _parameters(self, declared: DeclaredFilter, request: HttpRequest) -> list[str]:
        if isinstance(declared, tuple):
            declared, _ = declared
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
