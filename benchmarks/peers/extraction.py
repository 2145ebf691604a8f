"""The main text of pages by a peer.

python extraction.py trafilatura|trafilatura-recall|resiliparse PAGES.json; prints one JSON line:
the seconds without loading, and the text of every page.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable


def trafilatura(**options: bool | str) -> Callable[[str], str]:
    from trafilatura import extract

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    return lambda html: extract(html, **options) or ""


def resiliparse() -> Callable[[str], str]:
    from resiliparse.extract.html2text import extract_plain_text

    return lambda html: extract_plain_text(html, main_content=True, preserve_formatting=True)


PEERS: dict[str, Callable[[], Callable[[str], str]]] = {
    "trafilatura": trafilatura,
    "trafilatura-recall": lambda: trafilatura(
        output_format="markdown", include_formatting=True, favor_recall=True, include_comments=False
    ),
    "resiliparse": resiliparse,
}


def main() -> None:
    text_of = PEERS[sys.argv[1]]()
    with open(sys.argv[2], encoding="utf-8") as file:
        pages = json.load(file)
    text_of(pages[0])
    started = time.monotonic()
    texts = [text_of(page) for page in pages]
    print(json.dumps({"seconds": time.monotonic() - started, "texts": texts}))


if __name__ == "__main__":
    main()
