"""The base of the pages: permissions, and errors as pages."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import NotAuthenticated, PermissionDenied
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from detection.errors import DatabaseUnavailableError
from detection.web import FormAuthentication, as_outage, error_page


class PageAuthentication(FormAuthentication):
    """Sessions, with a sentence about a page that was loaded before its user signed in."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise PermissionDenied(
                "This page was loaded before you signed in. Reload it, then send the image again."
            ) from error


class PageView(APIView):
    """A view with the limits, permissions and error sentences of the API that answers in HTML.

    ``error_template`` shows errors.
    """

    authentication_classes = [PageAuthentication]
    renderer_classes = [TemplateHTMLRenderer]
    http_method_names = ["get", "head", "post"]
    schema = None  # the OpenAPI document is for programs
    error_template = "pages/error.html"

    def handle_exception(self, error: Exception) -> HttpResponseBase:
        if isinstance(error, NotAuthenticated):
            return self.ask_to_sign_in()
        if isinstance(as_outage(error), DatabaseUnavailableError):
            self.request.user = AnonymousUser()  # the page must not query the database for the user
        response = super().handle_exception(error)
        response.exception = False  # else its template would be one of REST framework's
        response.template_name = self.error_template
        response.data = response.data | {"status": response.status_code}
        return response

    def ask_to_sign_in(self) -> HttpResponseBase:
        return redirect_to_login(self.request.get_full_path())

    def page(self, template: str, **context: object) -> Response:
        return Response(context, template_name=template)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without a valid CSRF token. The API's views have an answer of their own."""
    return error_page(
        request,
        403,
        "This page was open for too long. Reload it, then send the form again.",
    )
