"""One JupyterLab and one browser for all tests here. Pictures of what they saw stay in outputs/browser.

AIRAVATA_RUNBOOK_SITE names a running site, where all chapters are done; without it the tests that need one are skipped.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airavata_runbook.kernel_env import SITE
from airavata_runbook.local.browser import INSTALL, find_browser
from tests.browser.devtools import Page, browser
from tests.browser.jupyterlab import PROJECT, Notebook, jupyterlab
from tests.browser.working import load_site


def pytest_addoption(parser):
    parser.addoption("--plan", action="store_true", help="tests in a browser: plan on the site, change nothing")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="session")
def address(folder) -> Iterator[str]:
    """Of JupyterLab, with {path} for a path."""
    with jupyterlab(folder, {}) as found:
        yield found


@pytest.fixture(scope="session")
def project(address, folder) -> Path:
    """The copy of the project that JupyterLab serves."""
    return folder / "project"


@pytest.fixture(scope="session")
def page(folder) -> Iterator[Page]:
    if not find_browser():
        pytest.skip(f"no Chromium: {INSTALL}")
    with browser(folder) as found:
        yield found


@pytest.fixture
def plan(request) -> bool:
    return request.config.option.plan


@pytest.fixture(scope="session")
def site(project) -> str:
    """The name of the running site's file in the copy of the project."""
    if not (name := os.environ.get(SITE)):
        pytest.skip(f"no running site: {SITE} names one")
    for file in (project / "parameters").glob("*.yaml"):  # the picker asks the hosts of each whether they answer
        file.unlink()
    shutil.copy(name if os.sep in name else PROJECT / "parameters" / f"{name}.yaml", project / "parameters" / "browser.yaml")
    shutil.copy(PROJECT / "parameters" / "lab.yaml", project / "parameters")
    return "browser"


@pytest.fixture
def open_notebook(page, address, site, plan) -> Iterator[Callable[[str], Notebook]]:
    """Opens the notebook of a path, and loads the site in it."""
    opened: list[Notebook] = []

    def open_one(path: str) -> Notebook:
        page.show(1280, 900)
        opened.append(Notebook(page, address, path))
        load_site(opened[0], site, plan)
        return opened[0]

    yield open_one
    for notebook in opened:
        notebook.close()
