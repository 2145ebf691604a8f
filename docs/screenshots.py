"""Take the pictures in ``docs/images``: ``python docs/screenshots.py [PROJECT_DIR]``.

With the folder of a project that was brought up (and is being served, for the picture of the
chat) it shows that project; without, a sample project made for the purpose. Run it from the root
of the repository.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.browser.driving import ARGUMENTS, CHROMIUM, Tab, started
from tests.console import sample
from undercroft.client import Gateway, local_key
from undercroft.console.views import answers, models, runs
from undercroft.project import Project

IMAGES = Path(__file__).parent / "images"


@dataclass(frozen=True)
class Shot:
    """A picture: which page, how wide, in which light."""

    page: str
    dark: bool = False
    width: int = 1280

    @property
    def file(self) -> str:
        narrow = "-narrow" if self.width < 600 else ""
        return f"{self.page}{'-dark' if self.dark else ''}{narrow}.png"


SHOTS = (
    Shot("home"),
    Shot("home", dark=True),
    Shot("home", width=390),
    Shot("documents"),
    Shot("run", dark=True),
    Shot("models"),
    Shot("answer"),
    Shot("lineage", dark=True),
)


def main(folder: Path | None) -> None:
    """Take every picture of the project in ``folder``."""
    with tempfile.TemporaryDirectory() as temporary:
        if folder is not None:
            pictures(Project.open(folder, {"console.port": 0}))
            return
        project = sample.build(Path(temporary) / "project", servable=True)
        local_key(project)
        with started(project, "undercroft.serve", "serve.json"):
            pictures(project)


def pictures(project: Project) -> None:
    """Start a console of our own and take its pictures in light and dark."""
    with (
        started(project, "undercroft.console", "console.json", "--port", "0") as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = addresses(project)
        for shot in SHOTS:
            if shot.page in found:
                take(browser, url, found[shot.page], shot)
        if Gateway(project).state().healthy:
            take_chat(browser, url, project)
        browser.close()


def addresses(project: Project) -> dict[str, str]:
    """The page behind each picture."""
    found = {"home": "/", "documents": "/documents?state=removed", "models": "/models"}
    recent = [row.run for row in runs.listed(project, status="finished").runs.rows]
    trained = next((run for run in recent if run.stage == "train"), None)
    if trained:
        found["run"] = f"/runs/{trained.id}"
    if rows := [row for row in answers.listed(project).answers.rows if row.status == "ok"]:
        found["answer"] = f"/answers/{rows[0].id}"
    if route := models.serving_route(project):
        found["lineage"] = f"/lineage/{route.ref}"
    return found


def take(browser: Browser, url: str, address: str, shot: Shot) -> None:
    """One picture of one page."""
    tab = opened(browser, url, address, shot)
    tab.page.screenshot(path=IMAGES / shot.file)
    tab.page.context.close()


def take_chat(browser: Browser, url: str, project: Project) -> None:
    """A question, its answer and its sources."""
    tab = opened(browser, url, "/chat", Shot("chat"))
    question = project.settings.project.smoke_question or "What is in these documents?"
    tab.page.fill(".composer textarea", question)
    tab.page.press(".composer textarea", "Enter")
    tab.page.wait_for_selector(".thumbs", timeout=120_000)
    tab.page.wait_for_timeout(800)
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.screenshot(path=IMAGES / "chat.png")
    tab.page.context.close()


def opened(browser: Browser, url: str, address: str, shot: Shot) -> Tab:
    """A tab with the page in it, its fonts loaded."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": 800},
        color_scheme="dark" if shot.dark else "light",
        device_scale_factor=1.25,
    )
    tab = Tab(context.new_page(), url)
    tab.open(address)
    tab.page.evaluate("document.fonts.ready")
    tab.page.wait_for_timeout(300)
    return tab


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
