from __future__ import annotations

import re

import pytest

from detection.models import AccessToken
from tests.support.api import a_client, a_user

pytestmark = pytest.mark.django_db


def test_a_token_is_created_shown_once_and_revoked(admin_client, closed):
    ann = a_user("ann")
    form = {"user": str(ann.pk), "name": "CMS", "days": "7"}

    page = admin_client.post("/admin/detection/accesstoken/add/", form)

    token = AccessToken.objects.get()
    [text] = re.findall(r"<code[^>]*>(d3_[^<]+)</code>", page.content.decode())
    assert a_client(text).get("/api/statistics/").status_code == 200
    again = admin_client.get("/admin/detection/accesstoken/").content.decode()
    assert text not in again
    assert "CMS" in again
    admin_client.post(
        "/admin/detection/accesstoken/",
        {"action": "delete_selected", "_selected_action": [token.pk], "post": "yes"},
    )
    assert a_client(text).get("/api/statistics/").status_code == 401
