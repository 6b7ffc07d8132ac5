"""One JupyterLab and one browser for all tests here. Pictures of what they saw stay in outputs/browser."""

import shutil
from pathlib import Path

import pytest

from airavata_runbook.local.browser import INSTALL, find_browser
from tests.browser.devtools import PICTURES, Page, browser
from tests.browser.jupyterlab import jupyterlab

SCHEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def pytest_addoption(parser):
    parser.addoption("--plan", action="store_true", help="tests in a browser: plan on the site, change nothing")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def address(folder):
    """Of JupyterLab, with {path} for a path."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    with jupyterlab(folder, {}) as found:
        yield found


@pytest.fixture(scope="session")
def project(address, folder) -> Path:
    """The copy of the project that JupyterLab serves."""
    return folder / "project"


@pytest.fixture(scope="session")
def page(folder) -> Page:
    if not find_browser():
        pytest.skip(f"no Chromium: {INSTALL}")
    with browser(folder) as found:
        yield found
