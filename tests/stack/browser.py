"""Headless Chromium, driven by Playwright, for the tests that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

#: No request of its own may leave the machine or fail: the console has to stay empty.
ARGUMENTS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser; without Chromium the tests fail, and say what to install."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("these tests need Chromium: apt-get install chromium")
    # Chromium's sandbox refuses to run as root.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*ARGUMENTS, *root], headless=True
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page whose console is read."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        page.on("console", lambda m: self.said.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: self.said.append(f"error: {e}"))

    def open(self, url: str) -> Page:
        """Open an address; again if the machine's network changed just then.

        Chromium drops its connections when containers of other tests come and go.
        """
        for _ in range(3):
            self.said.clear()
            try:
                self.page.goto(url, wait_until="networkidle")
            except Error as error:
                if "ERR_NETWORK_CHANGED" not in str(error):
                    raise
                continue
            if not any("ERR_NETWORK_CHANGED" in line for line in self.said):
                break
        return self.page

    def errors(self) -> list[str]:
        """Return what the console complained of, but for lost connections."""
        return [
            line
            for line in self.said
            if not line.startswith(("log:", "info:", "debug:"))
            and "ERR_NETWORK_CHANGED" not in line
        ]
