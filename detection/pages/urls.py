"""Addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.templatetags.static import static
from django.urls import path
from django.views.generic import RedirectView

from detection.pages.front import FrontView
from detection.pages.history import HistoryView, RecordView

urlpatterns = [
    path("", FrontView.as_view(), name="front"),
    path("history/", HistoryView.as_view(), name="history"),
    path("history/<str:pk>/", RecordView.as_view(), name="record"),
    path(
        "sign-in/",
        LoginView.as_view(template_name="pages/sign_in.html", redirect_authenticated_user=True),
        name="sign-in",
    ),
    path("sign-out/", LogoutView.as_view(next_page="front"), name="sign-out"),
    # Browsers request it on pages that name no icon.
    path("favicon.ico", RedirectView.as_view(url=static("detection/pages/icon.svg"))),
]
