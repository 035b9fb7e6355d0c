"""Lists of records, newest first. A list reads one page and counts nothing."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from detection.admin.declared_filters import DeclaredFiltersAdmin
from detection.records import Cursor, newest_first


class NewestFirst(ChangeList):
    """A list that reads one page by a cursor. Django's own list counts all records, and reads and
    skips those of earlier pages.

    The cursor is sent under the name of Django's page number, which the links of filters leave out.
    """

    def get_results(self, request: HttpRequest) -> None:
        cursor = Cursor.read(request.GET.get(PAGE_VAR, ""))
        name = self.model_admin.name_in(self.query)
        page = newest_first(self.queryset, size=self.list_per_page, cursor=cursor, name=name)
        self.result_list = page.records
        self.searched_to = page.searched_to
        self.newer_link, self.older_link = self._link(page.newer), self._link(page.older)
        # Templates compare these two. Equal numbers hide "select all".
        self.result_count = self.full_result_count = len(page.records)
        self.show_admin_actions = bool(page.records)
        self.show_full_result_count = self.can_show_all = self.multi_page = False

    def _link(self, cursor: Cursor | None) -> str | None:
        return cursor and self.get_query_string({PAGE_VAR: cursor})


class NewestFirstAdmin(DeclaredFiltersAdmin):
    """Base of lists whose records are never added or edited by hand."""

    change_list_template = "admin/detection/newest_first.html"
    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["detection/admin/records.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj=None) -> bool:
        return False

    def name_in(self, search: str) -> str:
        """Return the part of a file name that a search is for; empty: it is for something else."""
        return ""

    def get_changelist(self, request: HttpRequest, **options: object) -> type[ChangeList]:
        return NewestFirst

    def response_action(self, request: HttpRequest, queryset: QuerySet) -> object:
        """Act on ticked records only: a list may have millions."""
        request.POST = request.POST.copy()
        request.POST.pop("select_across", None)
        return super().response_action(request, queryset)
