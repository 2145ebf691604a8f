"""Small real stages, so that what all stages share is tested apart from what any of them does."""

from __future__ import annotations

import os
import time
from pathlib import Path

from undercroft.errors import BadInput
from undercroft.records import Artifact
from undercroft.settings import Section
from undercroft.stage import Made, StageRun, stage


class SpeakSettings(Section):
    text: str = "hello"
    fail: str = ""
    seconds: float = 0.0


@stage("speak", version=1, params=SpeakSettings)
def speak(run: StageRun, params: SpeakSettings) -> Made:
    """Write ``text`` into a file by the character, going on where a dead attempt stopped."""
    out = run.workdir / "speech.txt"
    done = out.read_text() if out.exists() else ""
    for number in range(len(done), len(params.text)):
        time.sleep(params.seconds / max(1, len(params.text)))
        with out.open("a") as file:
            file.write(params.text[number])
        log = run.project.root / "characters-written.log"
        with log.open("a") as file:
            file.write(params.text[number])
        run.progress(number + 1, len(params.text), "characters")
    if params.fail == "bad":
        raise BadInput("The text is bad.", "It was meant to be.", "Give another.")
    if params.fail == "crash":
        raise ZeroDivisionError("oops")
    if params.fail == "full":
        Path("/dev/full").write_text("no room")
    if params.fail == "library":
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    if params.fail == "die":
        os._exit(9)
    return Made("examples", "speech", path=out, meta={"length": len(params.text)})


@stage("shout", version=1, params=SpeakSettings)
def shout(run: StageRun, params: SpeakSettings, *, speech: Artifact) -> tuple[Made, ...]:
    """Two outputs from one input."""
    text = run.project.path(speech).read_text()
    made = []
    for name, shouted in (("loud", text.upper()), ("louder", text.upper() + "!")):
        path = Path(run.workdir / f"{name}.txt")
        path.write_text(shouted)
        made.append(Made("examples", name, path=path))
    return tuple(made)
