"""The files in ``deploy/`` protect what the service has."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.support.documents import ROOT

pytestmark = pytest.mark.stateless

NGINX = (ROOT / "deploy" / "nginx.conf").read_text()


@pytest.mark.parametrize("page", ["admin:login", "rest_framework:login", "sign-in"])
def test_nginx_limits_attempts_to_sign_in(page):
    locations = re.findall(r"location (/\S+) \{([^}]*)\}", NGINX)
    limited = tuple(path for path, rules in locations if "limit_req zone=d3_login" in rules)

    assert reverse(page).startswith(limited)
