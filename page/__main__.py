"""``python -m page``: serve the live page."""

from __future__ import annotations

import logging
import os
import sys

from nicegui import ui

from page.app import build
from page.settings import Settings, SettingsError
from page.views import ViewError


def main() -> None:
    """Serve until told to stop."""
    # The library takes this for a test of its own, in which it serves nothing.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.of()
        build(settings)
    except (SettingsError, ViewError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"the page is at http://{settings.host}:{settings.port}", flush=True)
    ui.run(
        host=settings.host,
        port=settings.port,
        title="TICK anomaly stack",
        favicon="📈",
        reload=False,
        show=False,
        show_welcome_message=False,
        tailwind=False,
        uvicorn_logging_level="warning",
        reconnect_timeout=30,
    )


if __name__ in ("__main__", "__mp_main__"):
    main()
