"""A report as a picture, for a chat or an issue: what Chromium shows of the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from stack.errors import StackError

WIDTH = 1200
TALLEST = 8000
"""Pixels; a page that is longer is cut off there."""

PATIENCE = 120
"""Seconds that Chromium may take."""


def browser() -> str | None:
    """Return Chromium's path, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def write_picture(page: Path, picture: Path) -> None:
    """Write a report's page as PNG, in its whole length.

    Parameters
    ----------
    page
        As `write_report` wrote it.
    picture
        Where to.

    Raises
    ------
    StackError
        Without Chromium, or when it fails.
    """
    program = browser()
    if program is None:
        raise StackError("a picture needs Chromium", "install the package chromium")
    content = _run(program, page, "--dump-dom", f"--window-size={WIDTH},800").decode()
    drawn = re.search(r'data-height="(\d+)"', content)
    if drawn is None:
        raise StackError(f"Chromium did not draw {page}")
    height = min(int(drawn[1]), TALLEST)
    part = picture.with_name(picture.name + ".part.png")
    _run(program, page, f"--screenshot={part.resolve()}", f"--window-size={WIDTH},{height}",
         "--hide-scrollbars")  # fmt: skip
    part.replace(picture)


def _run(program: str, page: Path, *arguments: str) -> bytes:
    # Chromium's sandbox refuses to run as root.
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        try:
            done = subprocess.run(
                [
                    program, "--headless", *root, "--disable-gpu", "--disable-quic",
                    "--no-first-run", "--disable-background-networking", "--disable-sync",
                    "--disable-component-update", "--disable-dev-shm-usage",
                    f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND",
                    "--virtual-time-budget=10000", *arguments, page.resolve().as_uri(),
                ],
                capture_output=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StackError(f"Chromium took more than {PATIENCE} s for {page}") from None
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise StackError(f"Chromium failed on {page}", details="\n".join(words))
    return done.stdout
