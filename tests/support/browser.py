"""Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.support.waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class Chromium:
    """A browser that starts with its first page and runs until ``close``.

    While it runs, Playwright's event loop prevents Django from using its database in this thread.
    """

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def new_context(self, **options: Any) -> BrowserContext:
        if self._browser is None:
            program = _program()
            expect.set_options(timeout=1000 * PATIENCE)
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(
                executable_path=program, args=ARGUMENTS
            )
        return self._browser.new_context(**options)

    def close(self) -> None:
        if self._browser:
            self._browser.close()
            self._playwright.stop()
        self._playwright = self._browser = None


chromium = Chromium()


def _is_error(line: ConsoleMessage) -> bool:
    return line.type == "error"


@contextmanager
def opened_page(**options: Any) -> Iterator[Page]:
    """Open an empty page without cookies. Without a browser, CI fails, and other machines skip the
    test.

    ``options`` are those of a browser context, such as viewport and color_scheme.
    """
    context = chromium.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE)
    try:
        yield context.new_page()
    finally:
        context.close()


@dataclass(slots=True)
class Watch:
    """The errors in the console of a page, and the hosts from which the page fetches."""

    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, page: Page, is_complaint: Callable[[ConsoleMessage], bool] = _is_error) -> Watch:
        """Watch a page from now on."""
        watch = cls()
        page.on("console", lambda line: watch.said.append(line.text) if is_complaint(line) else 0)
        page.on("pageerror", lambda error: watch.said.append(str(error)))
        page.on("request", lambda request: watch._fetched(request.url.split("/")[2]))
        return watch

    def _fetched(self, host: str) -> None:
        if host:  # blob: and data: have none
            self.hosts.add(host)


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    root = "document.documentElement"
    return page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")


def _program() -> str:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        missing = "There is no Chromium here; install it to run the tests of the pages."
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return program
