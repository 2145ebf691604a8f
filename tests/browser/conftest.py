"""A real Chromium in front of a real console, on a project that a real gateway can serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.driving import ARGUMENTS, CHROMIUM, Tab, started
from tests.console import sample
from undercroft.client import local_key
from undercroft.project import Project


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """1,500 documents, half of them kept, in an index that the gateway searches."""
    folder = tmp_path_factory.mktemp("browser") / "project"
    return sample.build(folder, num_documents=1500, servable=True)


@pytest.fixture(scope="package")
def console(project: Project) -> Iterator[str]:
    with started(project, "undercroft.console", "console.json") as url:
        yield url


@pytest.fixture(scope="package")
def gateway(project: Project) -> Iterator[str]:
    local_key(project)
    with started(project, "undercroft.serve", "serve.json") as url:
        yield url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser, console: str) -> Iterator[Tab]:
    """A tab in the light; the test fails if the page complained or reached out."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    context.set_default_timeout(15_000)
    tab = Tab(context.new_page(), console)
    yield tab
    context.close()
    assert not tab.complaints
    assert not tab.foreign
