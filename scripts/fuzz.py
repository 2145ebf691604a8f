"""Look for inputs that break the data side, guided by what code they reach.

python -m scripts.fuzz html --seconds 60        one target: html, readers or detect

Every target states what has to hold for any bytes whatsoever (`TARGETS`); the property tests use
the same statements. An input for which one does not hold, that takes more than ten seconds, or more
than 2 GB, is saved under ``build/fuzz/TARGET/crashes`` and ends the run with exit code 1; what
was found to reach new code is kept beside it, so that the next run begins there. An input that
found something belongs into the tests (``tests/curate/test_fuzz.py``), whose list only grows.
Needs ``atheris`` (libFuzzer for Python; Linux, Python below 3.14), which ``make install`` brings.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts import fuzz_seeds
from scripts.fuzz_seeds import CONTAINERS, DECLARED

FOLDER: Final = Path(__file__).resolve().parent.parent / "build" / "fuzz"
MOST_BYTES: Final = 4096
MOST_SECONDS: Final = 10  # for one input
MOST_MEMORY_MB: Final = 2048
_DONE: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\t", re.M)
#: Where it looks which code an input reaches.
_GUIDING: Final = (
    *("undercroft.collect", "undercroft.curate.page", "undercroft.curate.extract"),
    "undercroft.detect",
)
_DULL: Final = re.compile(r"#\d|INFO|MS:|(?:0x..,)|\\|stat::|\s*$")
_SAVED: Final = re.compile(r"Test unit written to (\S+)")

_LIMIT: Final = 1_000_000

# --- what has to hold ----------------------------------------------------------------------------


def html(data: bytes) -> None:
    """Any page gives text in NFC that can be written as UTF-8."""
    from undercroft.curate.extract import normalise, text_of

    for mime in ("text/html", "text/markdown", "text/plain", "application/pdf"):
        text = text_of(data, mime)
        text.encode("utf-8")
        assert normalise(text) == text, "the text is not in its normal form"


def readers(data: bytes) -> None:
    """Any bytes under any name are documents in UTF-8, or refusals that say why."""
    from undercroft.collect.readers import read

    number, content = (data[0] if data else 0), data[1:]
    kinds = len(DECLARED) + len(CONTAINERS)
    if (at := number % kinds) < len(DECLARED):
        name, declared, charset = DECLARED[at]
        found = list(read(name, content, declared=declared, charset=charset))
    else:
        found = _contained(CONTAINERS[at - len(DECLARED)], content)
    for each in found:
        each.payload.decode("utf-8")
        each.title.encode("utf-8", "surrogateescape")
        assert each.uri, "a document without an address"
        assert bool(each.payload.strip()) != bool(each.reason) or each.reason.startswith("empty")
        assert len(each.payload) <= 200 * _LIMIT


def _contained(name: str, content: bytes) -> list[Any]:
    from undercroft.collect.containers import read_container

    with tempfile.NamedTemporaryFile(suffix=name, dir=_memory()) as file:
        file.write(content)
        file.flush()
        return list(read_container(Path(file.name), name, _LIMIT))


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def detect(data: bytes) -> None:
    """Findings lie in the text; what is masked is not found again; a stream gives the same."""
    from undercroft.detect import DETECTORS, StreamScreen, find, identify, mask

    text = data.decode("utf-8", "replace")
    findings = find(text, tuple(DETECTORS))
    for each in findings:
        assert 0 <= each.start <= each.end <= len(text), f"{each} is not in the text"
        assert each.start < each.end or not text, f"{each} is of nothing"
        assert 0.0 <= each.score <= 1.0
    _, confidence, segments = identify(text)
    assert 0.0 <= confidence <= 1.0001
    assert all(0 <= each.start < each.end <= len(text) for each in segments)
    kinds = ("pii", "secret")
    masked = mask(text, findings, kinds)
    again = find(masked, kinds)
    assert not again, f"{again} in what was masked"
    screen, step = StreamScreen(kinds), 1 + len(data) % 7
    shown = "".join(screen.feed(text[at : at + step]) for at in range(0, len(text), step))
    assert shown + screen.flush() == masked, "the stream shows something else"


#: What an input has to hold for, and what to begin with.
TARGETS: Final[dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]]] = {
    "html": (html, fuzz_seeds.pages),
    "readers": (readers, fuzz_seeds.files),
    "detect": (detect, fuzz_seeds.texts),
}

# --- running -------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long to look (60)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where inputs are kept")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.folder.resolve()
    folder = root / options.target
    if options.inside:
        _fuzz(options.target, folder, options.seconds)
        return 0
    for name in ("corpus", "crashes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[options.target][1]()):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    return _watched(options.target, root, options.seconds)


def _watched(target: str, folder: Path, seconds: int) -> int:
    """Run the fuzzer in a process of its own, which an input may kill, and tell what came of it."""
    command = (sys.executable, "-m", "scripts.fuzz", target, "--inside")
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--seconds", str(seconds), "--folder", str(folder)],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout + done.stderr
    counts = [int(total or running) for total, running in _DONE.findall(said)]
    saved = _SAVED.findall(said)
    took = time.monotonic() - started
    print(f"{target}: {max(counts, default=0):,} executions in {took:.0f} s, {len(saved)} crashes")
    if done.returncode or saved or not counts:
        print("\n".join(line for line in said.splitlines() if not _DULL.match(line))[-4000:])
    for path in saved:
        print(f"saved: {path}")
    return 1 if done.returncode or saved or not counts else 0


def _fuzz(target: str, folder: Path, seconds: int) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed; it needs Linux and Python < 3.14.")
    with atheris.instrument_imports(include=list(_GUIDING)):
        import undercroft.collect.containers
        import undercroft.collect.readers
        import undercroft.curate.extract
        import undercroft.detect  # noqa: F401
    check = TARGETS[target][0]
    check(b"")  # loads what is loaded on first use, which is no input's fault
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-timeout={MOST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={folder / 'crashes'}/",
        "-print_final_stats=1",
        str(folder / "corpus"),
    ]
    atheris.Setup(arguments, check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
