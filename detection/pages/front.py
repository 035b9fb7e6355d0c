"""The front page, where people send images."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from detection.judging import predict_image
from detection.models import Source
from detection.pages.cards import card_of
from detection.pages.page_view import PageView
from detection.web import (
    PredictThrottle,
    ReadThrottle,
    admits_images,
    check_form,
    owner_of,
    single_image,
)

SIGNED_OUT = "You are signed out. Sign in again, then send the image again."


class FrontView(PageView):
    """The front page judges one image per request.

    A form gets the whole page as its answer. The page's script sends a request for each image, and
    gets only the card.
    """

    parser_classes = [MultiPartParser]
    filename = ""

    @property
    def error_template(self) -> str:
        if self._is_from_script:
            return "pages/problem.html"
        return "pages/front.html" if self.request.method == "POST" else "pages/error.html"

    @property
    def _is_from_script(self) -> bool:
        return self.request.headers.get("X-Requested-With") == "fetch"

    def get_throttles(self) -> list[BaseThrottle]:
        return [PredictThrottle() if self.request.method == "POST" else ReadThrottle()]

    def get(self, request: Request) -> Response:
        return self.page("pages/front.html")

    @admits_images
    def post(self, request: Request) -> Response:
        check_form(request, images=1)
        upload = single_image(request)
        self.filename = upload.filename
        prediction = predict_image(
            upload=upload,
            source=Source.PAGE,
            owner=owner_of(request),
        )
        template = "pages/card.html" if self._is_from_script else "pages/front.html"
        return self.page(template, card=card_of(prediction, request.user))

    def handle_exception(self, error: Exception) -> HttpResponseBase:
        response = super().handle_exception(error)
        if isinstance(response, Response):
            response.data["filename"] = self.filename
        return response

    def ask_to_sign_in(self) -> HttpResponseBase:
        if not self._is_from_script:
            return super().ask_to_sign_in()
        return Response({"error": SIGNED_OUT}, status=403, template_name="pages/problem.html")
