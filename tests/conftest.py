"""Fixtures of more than one test file."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

BROWSER = os.environ.get("SEGLIB_BROWSER") or shutil.which("chromium")


@pytest.fixture(scope="module")
def one_thread():
    """For pictures this small, threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser(request):
    """The system's Chromium without a window, which finds no other machine. Of a module that names `BROWSER_LOGS`, such
    as {"performance": "ALL"}, it keeps these.

    Needs Debian's packages chromium and chromium-driver. SEGLIB_BROWSER names the browser, which then must be there;
    where it is not set and none is found, tests skip.
    """
    if BROWSER is None:
        pytest.skip("no Chromium: apt install chromium chromium-driver")
    assert Path(BROWSER).is_file(), f"SEGLIB_BROWSER: there is no {BROWSER}"
    options = ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1300,1800",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", getattr(request.module, "BROWSER_LOGS", {}))
    driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
