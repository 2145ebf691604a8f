"""The main content of pages against trafilatura and resiliparse.

python -m benchmarks.extraction [--rounds 5] [--pages 40] [--news FOLDER] [--manuals FOLDER]

Three kinds of page, each with what should come out of it:

- ``python``: Debian's ``python3.11-doc``, beside the reStructuredText that it was made from;
- ``manuals``: other packages of Debian with documentation, those found below ``--manuals`` (there
  the packages may lie unpacked), each page beside the element that its generator puts the content
  in, less navigation. Nothing was chosen on those in `HELD_OUT` before they were first measured;
- ``news``: the annotated pages in the source distribution of newspaper4k (its ``tests/data``).

Scores are F1 of words and of word 4-grams, the mean over pages; and the share of the ``pre``
elements whose every line comes out in order.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, in_turn, peer_environment, table

PYTHON = Path("/usr/share/doc/python3.11/html")
PEERS = ("trafilatura", "trafilatura-recall", "resiliparse")
REQUIREMENTS = ("trafilatura==2.3.0", "resiliparse==2.0.0", "lxml_html_clean")
#: Where each generator puts the content, by a part of the path.
MANUALS = {
    "git-doc": "//body",
    "python-flask-doc": "//div[@role='main']",
    "python-attr-doc": "//div[@role='main']",
    "nodejs-doc": "//*[@id='apicontent']",
    "mkdocs-doc": "//div[@role='main']",
    "debian-handbook": "//body",
}
HELD_OUT = {
    "apache2-doc": "//div[@id='page-content']",
    "postgresql-doc": "//body",
    "octave": "//body",
    "zsh-common": "//body",
    "cmake-data": "//div[@role='main']",
    "sqlite3": "//body",
    "rust-doc/html/book": "//main",
    "rust-doc/html/std/io": "//*[@id='main-content']",
    "debian-policy": "//div[@role='main']",
    "exim4-doc-html": "//div[@id='content']",
    "gtk-doc": "//div[@class='refentry']|//div[@class='chapter']",
    "erlang-doc": "//*[@class='innertube']",
    "aptitude": "//body",
}
_FRAME = "|".join(
    [
        *(f".//{tag}" for tag in ("script", "style", "nav", "button", "svg")),
        *(
            f".//*[@class='{name}']"
            for name in ("headerlink", "docnav", "navheader", "navfooter", "toc", "nosearch")
        ),
        *(f".//*[@id='{name}']" for name in ("footer", "title", "toc", "toplang")),
        *(
            f".//*[contains(@class, '{name}')]"
            for name in ("nav-panel", "linenos", "prev-next", "toctree")
        ),
        *(".//a[@class='mark']", ".//a[@class='src']", ".//div[@class='header'][a]"),
        *(".//table[@class='navigation']", ".//div[@class='bottomlang']"),
        *(".//td[@class='listing_lines']", ".//div[@role='navigation']"),
    ]
)
_BLOCKS = frozenset({"p", "div", "li", "dt", "dd", "pre", "table", "tr", "td", "th", "section"})
_WORD = re.compile(r"[\u0e00-\u0e7f\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


@dataclass(frozen=True)
class Page:
    site: str
    html: str
    wanted: str
    codes: Sequence[str] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description="Our extraction against others'.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", type=int, default=40, help="of Python's and, a third, of others")
    parser.add_argument("--news", type=Path, help="tests/data of newspaper4k's sources")
    parser.add_argument("--manuals", type=Path, default=Path("/usr/share/doc"))
    options = parser.parse_args()
    kinds = {
        "python": list(python_pages(options.pages)),
        "manuals": list(manual_pages(options.manuals, MANUALS, options.pages // 3)),
        "held-out manuals": list(manual_pages(options.manuals, HELD_OUT, options.pages // 3)),
        "news": list(news_pages(options.news)) if options.news else [],
    }
    binaries = peer_environment("extraction", REQUIREMENTS)
    rows, ratios, quality = [], {}, {}
    for kind, pages in kinds.items():
        if pages:
            found = _rounds(binaries, [page.html for page in pages], options.rounds)
            quality[kind] = {side: scores(pages, r[0]["texts"]) for side, r in found.items()}
            ratios[kind] = {peer: _ratio(found, peer) for peer in PEERS}
            speed = len(pages) / statistics.median(r["seconds"] for r in found["ours"])
            for side, (words, grams, code) in quality[kind].items():
                times = ratios[kind].get(side, 1.0)
                rows.append([kind, len(pages), side, words, grams, code, round(times, 1)])
            print(f"{kind}: {speed:.0f} pages/s", file=sys.stderr)
    print(table(["pages", "n", "by", "F1", "F1 of 4-grams", "code", "we are … x"], rows))
    Result(
        "extraction",
        round(statistics.mean(each["ours"][0] for each in quality.values()), 4),
        round(max(statistics.mean(q[p][0] for q in quality.values()) for p in PEERS), 4),
        round(statistics.median(each["trafilatura"] for each in ratios.values()), 2),
        "word F1, mean over kinds, beside the best peer's; the ratio is speed to trafilatura's",
        quality,
    ).print()


def python_pages(count: int) -> Iterator[Page]:
    """Pages of the Python documentation with the words of their sources."""
    sources = sorted((PYTHON / "_sources").rglob("*.rst.txt"))
    random.Random(3).shuffle(sources)
    for source in sources[:count]:
        page = PYTHON / source.relative_to(PYTHON / "_sources").with_suffix("").with_suffix(".html")
        if page.exists():
            html = page.read_text()
            yield Page("python", html, words_of_rst(source.read_text()), _codes(html))


def words_of_rst(text: str) -> str:
    """What of a source is read: no comments, options, targets, adornments or roles."""
    kept: list[str] = []
    for line in text.splitlines():
        is_hidden = re.match(r"\s*(\.\. (_|\||index|toctree|highlight|XXX|testsetup)|:\w+:)", line)
        if is_hidden or re.match(r"\s*([=\-~^*+#\"'`.])\1{2,}\s*$", line):
            continue
        said = re.sub(r"\.\. [\w:-]+::", " ", line)
        said = re.sub(r":[\w:+-]+:`(?:[^`<]*<)?[~!]?([^`>]*)>?`", r" \1 ", said)
        kept.append(re.sub(r"`([^`<]+) <[^>]+>`_+", r"\1", said))
    return "\n".join(kept)


def manual_pages(folder: Path, kinds: dict[str, str], count: int) -> Iterator[Page]:
    """Pages with the text of the element that holds their content."""
    from lxml import html

    files = sorted(str(path) for path in folder.rglob("*.html") if path.is_file())
    for part, place in kinds.items():
        found = [path for path in files if f"/{part}" in path]
        random.Random(4).shuffle(found)
        taken = 0
        for path in found:
            raw = Path(path).read_bytes().decode("utf-8", "replace")
            if taken >= count or not raw.strip():
                continue
            tree = html.document_fromstring(raw.encode(), parser=html.HTMLParser(encoding="utf-8"))
            for content in tree.xpath(place)[:1]:
                for frame in content.xpath(_FRAME):
                    if frame.getparent() is not None:
                        frame.drop_tree()
                wanted = _visible(content)
                if len(wanted) > 400:
                    taken += 1
                    codes = [code.text_content() for code in content.xpath(".//pre")]
                    yield Page(part, raw, wanted, [code for code in codes if len(code) > 20])


def _visible(element: Any) -> str:
    parts: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node.tag, str):
            end = "\n" if node.tag in _BLOCKS or node.tag[0] == "h" else ""
            parts.append(end + (node.text or ""))
            for child in node:
                visit(child)
                parts.append(child.tail or "")
            parts.append(end)

    visit(element)
    return "".join(parts)


def _codes(page: str) -> list[str]:
    from lxml import html

    found = [code.text_content() for code in html.document_fromstring(page).xpath("//pre")]
    return [code for code in found if len(code) > 20]


def news_pages(folder: Path) -> Iterator[Page]:
    for page in sorted(folder.glob("html/*.html")):
        notes, text = folder / f"metadata/{page.stem}.json", folder / f"txt/{page.stem}.txt"
        wanted = (json.loads(notes.read_text()).get("text") or "") if notes.exists() else ""
        wanted = wanted or (text.read_text() if text.exists() else "")
        if len(wanted) > 150:
            yield Page(page.stem, page.read_bytes().decode("utf-8", "replace"), wanted)


def scores(pages: Sequence[Page], texts: Sequence[str]) -> tuple[float, float, float]:
    """Mean F1 of words, of 4-grams, and the share of codes found."""
    words, grams, found = [], [], []
    for page, text in zip(pages, texts, strict=True):
        wanted, got = (_WORD.findall(each.lower()) for each in (page.wanted, text))
        words.append(_f1(Counter(wanted), Counter(got)))
        grams.append(_f1(Counter(_grams(wanted)), Counter(_grams(got))))
        lines = _lines(text)
        found += [_lines(code) in lines for code in page.codes]
    share = statistics.mean(found) if found else 1.0
    return round(statistics.mean(words), 4), round(statistics.mean(grams), 4), round(share, 4)


def _grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(4)), strict=False))


def _f1(wanted: Counter[Any], got: Counter[Any]) -> float:
    both = (wanted & got).total()
    return 2 * both / max(wanted.total() + got.total(), 1)


def _lines(text: str) -> str:
    stripped = (line.strip() for line in text.replace("\xa0", " ").splitlines())
    return "\n".join(line for line in stripped if line)


def _ratio(found: dict[str, list[Any]], peer: str) -> float:
    pairs = zip(found["ours"], found[peer], strict=True)
    return statistics.median(theirs["seconds"] / ours["seconds"] for ours, theirs in pairs)


def _rounds(binaries: Path, pages: list[str], rounds: int) -> dict[str, list[Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(pages, file)
        file.flush()
        script = str(Path(__file__).parent / "peers" / "extraction.py")
        command = [str(binaries / "python"), script]

        def peer(name: str) -> Any:
            done = subprocess.run([*command, name, file.name], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            return json.loads(done.stdout.strip().splitlines()[-1])

        sides = {name: lambda name=name: peer(name) for name in PEERS}
        return in_turn(rounds, {"ours": lambda: _ours(pages), **sides})


def _ours(pages: Sequence[str]) -> dict[str, Any]:
    from undercroft.curate.extract import text_of

    payloads = [page.encode("utf-8", "replace") for page in pages]
    started = time.monotonic()
    texts = [text_of(payload, "text/html") for payload in payloads]
    return {"seconds": time.monotonic() - started, "texts": texts}


if __name__ == "__main__":
    main()
