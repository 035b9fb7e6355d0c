"""Addresses of the dashboard and of the review screen."""

from __future__ import annotations

from django.urls import path

from detection.admin.dashboard import dashboard
from detection.admin.review import review, review_next

urlpatterns = [
    path("dashboard/", dashboard, name="dashboard"),
    path("review/", review_next, name="review-next"),
    path("review/<str:pk>/", review, name="review"),
]
