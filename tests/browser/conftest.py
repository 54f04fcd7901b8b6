"""A real headless Chromium for the pages that the tool writes; without one the ring is skipped."""

import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def pytest_collection_modifyitems(items):
    """Put all tests of this folder into the ring `browser`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


# One a module: two of playwright's loops cannot run at once.
@pytest.fixture(scope="module")
def browser():
    """Start Chromium: the one that I2I_CHROMIUM names, or that is on the path."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    named = os.environ.get("I2I_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium on the path, or I2I_CHROMIUM=FILE")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()
