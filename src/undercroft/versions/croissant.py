"""A dataset described as MLCommons Croissant 1.0 (JSON-LD), so that data loaders find their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from undercroft.records import Artifact

if TYPE_CHECKING:
    import pyarrow as pa

#: The vocabulary's context, from the specification of version 1.0.
CONTEXT: Final[Mapping[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA: Final = {"parquet": "application/x-parquet", "jsonl": "application/jsonlines"}


class _File(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


def croissant(
    artifact: Artifact, schema: pa.Schema, files: Sequence[_File], form: str, how: str = ""
) -> dict[str, Any]:
    """The description of ``files``, whose rows have ``schema``: texts and whole numbers.

    ``how`` goes on to say what they hold, where that is not every document once.
    """
    created = artifact.created_at.date().isoformat()
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": artifact.name,
        "description": f"{artifact.ref}: {int(artifact.meta['kept']):,} documents{how}.",
        "version": f"{artifact.ref.version}.0.0",
        "datePublished": created,
        "license": "See README.md",
        "url": f"urn:sha256:{artifact.digest}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.name,
                "name": file.name,
                "contentUrl": file.name,
                "contentSize": f"{file.size_bytes} B",
                "encodingFormat": _MEDIA[form],
                "sha256": file.sha256,
            }
            for file in files
        ],
        "recordSet": [_records(schema, file, form, number) for number, file in enumerate(files)],
    }


def _records(schema: pa.Schema, file: _File, form: str, number: int) -> dict[str, Any]:
    name = "documents" if number == 0 else f"documents-{number}"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": field.name,
                "dataType": "sc:Integer" if str(field.type).startswith("int") else "sc:Text",
                "source": {
                    "fileObject": {"@id": file.name},
                    "extract": {"column": field.name}
                    if form == "parquet"
                    else {"jsonPath": f"$.{field.name}"},
                },
            }
            for field in schema
        ],
    }
