from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from detection.admin.dashboard import dashboard
from detection.admin.review import review, review_next

urlpatterns = [
    path("admin/dashboard/", dashboard, name="dashboard"),
    path("admin/review/", review_next, name="review-next"),
    path("admin/review/<str:pk>/", review, name="review"),
    path("admin/", admin.site.urls),
    path("", include("detection.pages.urls")),
    path("", include("detection.api.urls")),
]
