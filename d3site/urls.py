"""Routes of the admin, the pages and the API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", include("detection.admin.urls")),
    path("admin/", admin.site.urls),
    path("", include("detection.pages.urls")),
    path("", include("detection.api.urls")),
]
