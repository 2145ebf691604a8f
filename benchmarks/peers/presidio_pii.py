"""Personal data in texts by Presidio's recognisers.

python presidio_pii.py TEXTS.json [MODEL]; prints one JSON line: the seconds without loading, and
for every text the findings as [entity, start, end, score]. MODEL is a spaCy pipeline, as Presidio
is meant to have one; without it there are tokens only, which is much quicker.
"""

from __future__ import annotations

import json
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer import predefined_recognizers as predefined
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from spacy.language import Language
from spacy.tokens import Doc

#: Recognisers of other countries, which Presidio keeps for texts in their languages.
FOREIGN = ("EsNifRecognizer", "ItFiscalCodeRecognizer", "PlPeselRecognizer",
           "FiPersonalIdentityCodeRecognizer", "AuTfnRecognizer", "InAadhaarRecognizer",
           "InPanRecognizer", "NhsRecognizer", "UkNinoRecognizer")  # fmt: skip


@Language.component("lowered")
def lowered(document: Doc) -> Doc:
    """Words in lower case as lemmas: context words are compared with these."""
    for token in document:
        token.lemma_ = token.lower_
    return document


class Engine(SpacyNlpEngine):
    """A pipeline, or tokens and words in lower case."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.nlp = {"en": spacy.load(model) if model else spacy.blank("en")}
        if not model:
            self.nlp["en"].add_pipe("lowered")

    def is_loaded(self) -> bool:
        return True

    def load(self) -> None:
        pass


def analyzer(model: str) -> AnalyzerEngine:
    engine = Engine(model)
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    have = {each.name for each in registry.recognizers}
    for name in FOREIGN:
        if name not in have and hasattr(predefined, name):
            registry.add_recognizer(getattr(predefined, name)(supported_language="en"))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        texts = json.load(file)
    engine = analyzer(sys.argv[2] if len(sys.argv) > 2 else "")
    engine.analyze("Some words to warm everything up.", language="en")
    started = time.monotonic()
    found = [engine.analyze(text, language="en") for text in texts]
    seconds = time.monotonic() - started
    spans = [[[r.entity_type, r.start, r.end, r.score] for r in results] for results in found]
    print(json.dumps({"seconds": seconds, "found": spans}))


if __name__ == "__main__":
    main()
