"""Settings of the data: collecting, curating, mixing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from undercroft.settings.section import Section


class CollectSettings(Section):
    """The world -> raw documents."""

    sources: list[str] = Field(
        default_factory=lambda: ["."],
        description="files, folders, URLs, object stores (s3://bucket/prefix), datasets of the "
        "Hugging Face Hub (hf:owner/name), paged APIs (api:https://host/path, and behind # how to "
        "read it: items, text, id, title, next, cursor, page, offset, size, token), what was asked "
        "and answered here with consent (traffic:), or python-docs; paths are relative to this "
        "file. Tables (JSONL, CSV, Parquet, Arrow) and archives (zip, tar, WARC; gz, bz2, xz, zst) "
        "give a document a row or member",
    )
    include: list[str] = Field(
        default_factory=list, description="globs of files to take; empty: every known type"
    )
    exclude: list[str] = Field(
        default_factory=lambda: [".*", "node_modules", "__pycache__"],
        description="globs of names to leave out",
    )
    max_file_mb: float = Field(
        100.0, gt=0, description="larger files, rows and members are recorded as rejected"
    )
    max_pages: int = Field(
        500, gt=0, description="pages a crawl or an API takes at most from one start address"
    )
    max_depth: int = Field(5, ge=0, description="links a crawl follows away from its start address")
    requests_per_second: float = Field(
        2.0, gt=0, description="politeness: rate per host, or slower if robots.txt asks"
    )
    timeout_s: float = Field(20.0, gt=0, description="time limit for one page")
    refresh_hours: float = Field(
        24.0, gt=0, description="a site or an API is asked for changes at most once in this time"
    )
    user_agent: str = Field("undercroft", description="the name robots.txt rules are looked up by")
    warc_folder: str = Field(
        "",
        description="folder that crawls also write what servers answered to, as WARC; empty: none. "
        "`undercroft forget` does not reach into it",
    )
    licence: str = Field(
        "unknown", description="licence recorded with every document of these sources"
    )
    consent: str = Field("operator", description="on what ground the documents are used")


class Purpose(Section):
    """What documents may serve one purpose, and what of them its readers see."""

    where: str = Field(
        "",
        description="condition in SQL over the columns of the documents table; empty: every one",
    )
    columns: list[str] = Field(default_factory=list, description="readable; empty: every one")


Heuristic = Literal["gopher_repetition", "gopher_quality", "c4", "fineweb"]
HEURISTICS: tuple[Heuristic, ...] = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


class CurateSettings(Section):
    """Raw -> signals -> policy -> a dataset version."""

    policy: Literal["default", "datatrove-parity"] = Field(
        "default",
        description="datatrove-parity: the published filters as datatrove decides, in the order of "
        "FineWeb, in place of our own limits on length, symbols and repetition",
    )
    languages: list[str] = Field(
        default_factory=list, description="ISO 639-1 codes to keep; empty: all"
    )
    min_chars: int = Field(80, ge=0, description="shorter documents are removed")
    max_chars: int = Field(2_000_000, gt=0, description="longer documents are removed")
    max_symbol_ratio: float = Field(
        0.5, gt=0, le=1, description="share of characters that are neither letters nor space"
    )
    max_duplicate_line_ratio: float = Field(
        0.5, gt=0, le=1, description="share of lines that repeat another line"
    )
    max_top_ngram_ratio: float = Field(
        0.4, gt=0, le=1, description="share of characters in the commonest 3-gram of words"
    )
    heuristics: list[Heuristic] = Field(
        default_factory=list,
        description="published filters applied too, as datatrove decides; they are for web text",
    )
    decontaminate: list[str] = Field(
        default_factory=lambda: ["suite:*"],
        description="evaluation suites (registered ones as suite:NAME; files as globs; JSONL, CSV, "
        "Parquet, text): documents that hold 13 words of an item in a row are removed",
    )
    respect_usage: bool = Field(
        True,
        description="remove documents whose publisher reserves them against training "
        "(Content-Usage, TDM reservation, noai)",
    )
    licences: list[str] = Field(
        default_factory=list,
        description="licences to keep (globs, such as cc-by-*, in any case); empty: all",
    )
    max_toxicity: float = Field(
        1.0, gt=0, le=1, description="English documents that are more toxic are removed; 1: never"
    )
    max_spam: float = Field(
        1.0, gt=0, le=1, description="documents that are likelier spam are removed; 1: never"
    )
    max_generated: float = Field(
        1.0,
        gt=0,
        le=1,
        description="documents with likelier traces of a chat model are removed; 1: never",
    )
    remove_malicious: bool = Field(
        False, description="remove documents with code that would harm whoever runs it"
    )
    review: list[str] = Field(
        default_factory=list,
        description="rules whose documents are put aside until somebody decides: "
        "`undercroft data review`",
    )
    purposes: dict[str, Purpose] = Field(
        default_factory=dict,
        description="what may serve which purpose, as [curate.purposes.NAME] with `where` and "
        "`columns`; the index is made of what serves `retrieval`: unless that is declared too, "
        "everything but what people asked and were answered",
    )
    near_duplicate_jaccard: float = Field(
        0.8, gt=0, le=1, description="verified Jaccard of word 5-grams that counts as a copy"
    )
    semantics: bool = Field(
        False,
        description="find for each document the one nearest in meaning (needs the part `train` "
        "once, to distil the embedding)",
    )
    max_semantic_cosine: float = Field(
        1.0,
        gt=0,
        le=1,
        description="with `semantics`, documents nearer in meaning to one that stays are removed; "
        "1: never",
    )
    cut_repeated: Literal["nothing", "lines", "paragraphs"] = Field(
        "nothing",
        description="what is cut from all documents but one where many share it, such as notices",
    )
    cut_repeated_from: int = Field(
        10, ge=2, description="documents that must share a line or paragraph for it to be cut"
    )
    mask: list[str] = Field(
        default_factory=lambda: ["pii", "identity", "secret"],
        description="kinds of finding that are replaced by a placeholder",
    )
    names: str = Field(
        "",
        description="spaCy pipeline that finds names of people and places, such as "
        "en_core_web_sm; slow; with `name` among `mask` they are masked; empty: none",
    )
    pseudonymise: bool = Field(
        False,
        description="give equal values equal placeholders, such as [EMAIL 3f9a1c02], "
        "by a key of this project",
    )
    max_pii: int = Field(
        0, ge=0, description="documents with more personal data are removed whole; 0: never"
    )
    max_secrets: int = Field(
        20, ge=0, description="documents with more secrets than this are removed whole"
    )

    @property
    def all_purposes(self) -> dict[str, Purpose]:
        """Those that are declared, and the one that the index is made for."""
        return {"retrieval": Purpose(where="coalesce(consent, '') <> 'store'"), **self.purposes}

    @property
    def filters(self) -> tuple[Heuristic, ...]:
        """The published filters that are asked for."""
        return HEURISTICS if self.policy == "datatrove-parity" else tuple(self.heuristics)


class MixtureSettings(Section):
    """How much of which group a training set takes: `data mix`, `data export --mixed`."""

    by: Literal["source", "language", "licence", "domain"] = Field(
        "source", description="what makes a group"
    )
    temperature: float = Field(
        1.0,
        ge=1,
        allow_inf_nan=False,
        description="a group's share is that of its characters to the power of 1/temperature "
        "(as in mT5): 1 leaves the natural proportions, more of it makes them more equal",
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=1e9)]] = Field(
        default_factory=dict,
        description="group = factor of its share, as [mixture.weights]; 0 leaves a group out",
    )
    max_epochs: int = Field(
        4,
        ge=1,
        description="no document is taken more often; up to about 4 times is nearly as good as "
        "new data. What a group cannot give is shared among the others",
    )
    chars: int = Field(0, ge=0, description="size to aim at, in characters; 0: the dataset's")
    seed: int = Field(20, description="seed of which documents are taken, and in which order")
