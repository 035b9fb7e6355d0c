"""Check the accessibility of a page in a browser with axe-core."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = {"serious", "critical"}
OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "resultTypes": ["violations"],
}


def serious_problems(page: Page) -> list[str]:
    """Return each serious or critical violation of WCAG 2.1 A and AA or of best practice, as
    ``rule: selector``.
    """
    violations = Axe().run(page, options=OPTIONS).response["violations"]
    return [
        f"{violation['id']}: {' '.join(map(str, node['target']))}"
        for violation in violations
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]
