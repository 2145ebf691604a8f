"""The detectors by name, and running them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from undercroft.detect import (
    generated,
    identity,
    injection,
    malware,
    pii,
    rules,
    secrets,
    spam,
)
from undercroft.detect.language import language
from undercroft.detect.patterns import Patterns
from undercroft.records import Finding


class Detector(Protocol):
    """Finds one family of things in a text; a new one is a class and a line in `DETECTORS`."""

    def find(self, text: str) -> list[Finding]:
        """The findings, by position; every kind begins with the detector's name and a dot."""
        ...


@dataclass(frozen=True)
class RuleDetector:
    """Runs a list of rules over the units of a text."""

    rules: tuple[rules.Rule, ...]

    def find(self, text: str) -> list[Finding]:
        return rules.find(text, self.rules)


@dataclass(frozen=True)
class PatternDetector:
    """Looks for signs in running text; not for streams."""

    patterns: Patterns

    def find(self, text: str) -> list[Finding]:
        return self.patterns.find(text)


class InjectionDetector:
    """Text that tries to give orders to the model."""

    def find(self, text: str) -> list[Finding]:
        return injection.find(text)


class IdentityDetector:
    """Numbers, dates and addresses that the words beside them make personal; not for streams."""

    def find(self, text: str) -> list[Finding]:
        return identity.find(text)


class LanguageDetector:
    """The language of the whole text; nothing where it cannot be told."""

    def find(self, text: str) -> list[Finding]:
        code, confidence = language(text)
        if code == "und":
            return []
        return [Finding(f"language.{code}", 0, len(text), confidence, "two-opinions")]


DETECTORS: Final[dict[str, Detector]] = {
    "pii": RuleDetector(pii.RULES),
    "secret": RuleDetector(secrets.RULES),
    "identity": IdentityDetector(),
    "injection": InjectionDetector(),
    "malware": PatternDetector(Patterns(malware.PATTERNS)),
    "spam": PatternDetector(Patterns(spam.PATTERNS)),
    "generated": PatternDetector(Patterns(generated.PATTERNS)),
    "language": LanguageDetector(),
}

SCREENED: Final = ("pii", "secret", "injection")


def find(text: str, detectors: Collection[str] = SCREENED) -> list[Finding]:
    """What the named ``detectors`` find in ``text``, by position. Raises `KeyError` for others."""
    by_rule = tuple(
        rule
        for name in detectors
        if isinstance(detector := DETECTORS[name], RuleDetector)
        for rule in detector.rules
    )
    findings = rules.find(text, by_rule) if by_rule else []
    for name in detectors:
        detector = DETECTORS[name]
        if not isinstance(detector, RuleDetector):
            findings += detector.find(text)
    findings.sort(key=lambda finding: (finding.start, -finding.end, finding.kind))
    return findings
