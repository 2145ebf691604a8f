"""Documents from what the application was asked and answered: ``traffic:``.

Only exchanges that the client agreed to have learnt from (``store: true``) and whose person has not
taken it back since (`consent`). ``traffic:?rating=up`` takes those that were liked,
``traffic:?days=30`` those of the last days. Each is a document of its own, sealed for the person it
is of: once their key is destroyed it is gone with everything else of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from undercroft.collect.consent import withdrawn
from undercroft.collect.documents import MARKDOWN, Collected, Gathering, Unchanged
from undercroft.collect.options import options_of
from undercroft.errors import BadSource
from undercroft.trust.sealed import opened

if TYPE_CHECKING:
    from undercroft.lake import Table
    from undercroft.project import Project

SCHEME: Final = "traffic:"
CONSENT: Final = "store"  # as the requests table says it
_RATINGS: Final[Mapping[str, int]] = {"up": 1, "down": -1}
_COLUMNS: Final = ("id", "at", "subject", "question_sealed", "answer_sealed")
_BATCH_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Opinion:
    rating: int
    comment: str


@dataclass(frozen=True)
class Traffic:
    """The exchanges of ``project`` that ``spec`` asks for."""

    spec: str
    project: Project

    def fingerprint(self) -> str:
        """Of how many exchanges and opinions there are, and of what people decided."""
        counts = [table.count() if table.exists() else 0 for table in map(self._table, _SOURCES)]
        newest = self._table("feedback").version if self._table("feedback").exists() else 0
        gone = self.project.trust.vault.num_shredded()
        said = f"{counts} {newest} {gone} {sorted(withdrawn(self.project))}"
        days = f" {datetime.now(UTC):%Y-%m-%d}" if "days" in self._options else ""
        return hashlib.sha256((said + days).encode()).hexdigest()

    def collect(self, gathering: Gathering) -> Iterator[Collected | Unchanged]:
        table = self._table("requests")
        if not table.exists() or "consent" not in table.schema.names:
            return
        opinions, barred = self.opinions(), withdrawn(self.project)
        rating = _RATINGS.get(self._options.get("rating", ""))
        where = self.where()
        total, done = table.count(where), 0
        for batch in table.batches(_COLUMNS, where, rows=_BATCH_ROWS):
            for row in batch.to_pylist():
                opinion = opinions.get(row["id"])
                is_asked_for = rating is None or (opinion is not None and opinion.rating == rating)
                if is_asked_for and self.project.trust.vault.hashed(row["subject"]) not in barred:
                    yield from self._exchange(row, opinion)
            done += batch.num_rows
            gathering.report(done, total, self.spec)

    def _exchange(self, row: Mapping[str, Any], opinion: Opinion | None) -> Iterator[Collected]:
        """The document of one request; none when the key of its person was destroyed."""
        vault = self.project.trust.vault
        question, answer = opened(vault, row, "question"), opened(vault, row, "answer")
        if not question or not answer:
            return
        parts = [f"## User\n\n{question}", f"## Assistant\n\n{answer}"]
        if opinion is not None:
            liked = {1: "liked", -1: "not liked"}.get(opinion.rating, "commented on")
            parts.append(f"## Opinion\n\nThe answer was {liked}. {opinion.comment}".rstrip())
        yield Collected(
            f"{SCHEME}{row['id']}",
            title=f"Answer {row['id']}",  # a title is not sealed: it must not say what was asked
            group=f"{SCHEME}{vault.hashed(row['subject'])[:16]}",
            mime=MARKDOWN,
            payload="\n\n".join(parts).encode(),
            licence="own-traffic",
            consent=CONSENT,
            subject=row["subject"],
            last_modified=row["at"].isoformat(),
        )

    def opinions(self) -> dict[str, Opinion]:
        """The newest opinion of each answer; one whose key was destroyed is passed over."""
        table = self._table("feedback")
        rows = table.read().sort_by("at").to_pylist() if table.exists() else []
        found: dict[str, Opinion] = {}
        for row in rows:
            comment = opened(self.project.trust.vault, row, "comment")
            if comment is not None:
                found[row["answer"]] = Opinion(row["rating"], comment)
        return found

    def where(self) -> str:
        """The condition on requests: answered, with consent, and within the days."""
        from undercroft.lake.where import equals, quote

        where = f"{equals('consent', CONSENT)} AND {equals('status', 'ok')} AND kind <> 'embedding'"
        if "days" not in self._options:
            return where
        since = datetime.now(UTC) - timedelta(days=float(self._options["days"]))
        return f"{where} AND at >= {quote(since)}"

    def _table(self, name: str) -> Table:
        return self.project.lake.table(name)

    @property
    def _options(self) -> dict[str, str]:
        said = self.spec.partition("?")[2]
        options = options_of(self.spec, said, ("rating", "days"))
        is_number = options.get("days", "1").replace(".", "", 1).isdigit()
        if options.get("rating", "up") not in _RATINGS or not is_number:
            raise BadSource(
                f"{self.spec} cannot be understood.",
                "A rating is up or down, and days are a number.",
                "As in: traffic:?rating=up&days=30",
            )
        return options


_SOURCES: Final = ("requests", "feedback")
