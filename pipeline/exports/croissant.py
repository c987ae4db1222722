"""Croissant metadata of a feature set (http://mlcommons.org/croissant/1.0): its index tables field by field.

Written by hand and validated with mlcroissant in the tests, which brings rdflib and more that a job has no use for.
"""

import json
from typing import Any

from pipeline.exports.facts import Facts
from pipeline.featureset.schema import INDEX

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
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
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_PARQUET = "application/x-parquet"
_TYPES = {"string": "sc:Text", "int32": "sc:Integer"}


def croissant(facts: Facts) -> bytes:
    """The metadata as JSON-LD."""
    return (json.dumps(_dataset(facts), indent=1) + "\n").encode()


def licence_in(data: bytes) -> str | None:
    """The licence that metadata of ours names; None if it is not to be read."""
    try:
        said = json.loads(data).get("license")
    except (ValueError, AttributeError):
        return None
    return said if isinstance(said, str) else None


def _dataset(facts: Facts) -> dict[str, Any]:
    last, settings = facts.runs[-1], facts.settings
    described = {
        key: settings.get(key) for key in ("weights", "features", "storage_dtype", "precision", "preprocessing")
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name,
        "description": (
            f"Features of {facts.num_rows} images from {facts.model} (weights: {facts.weights}). "
            f"Settings: {json.dumps(described)}. Fingerprint: {facts.record.fingerprint}. "
            "Maps lie in Parquet shards, whose schemas say dtype, shape and meaning."
        ),
        "url": facts.uri,
        "license": facts.licence,
        "version": f"{last.run}.0.0",
        "datePublished": last.sealed_at,
        "distribution": [
            *(
                {
                    "@type": "cr:FileObject",
                    "@id": f"index-{run.run}",
                    "name": f"index-{run.run}",
                    "description": f"Index of run {run.run}: {run.num_embedded} images, and where their rows lie.",
                    "contentUrl": run.index.name,
                    "contentSize": f"{run.index.size_bytes} B",
                    "encodingFormat": _PARQUET,
                    "sha256": run.index.sha256,
                }
                for run in facts.runs
            ),
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "description": "Feature maps, one row an image; the shards tables of the runs name those that count.",
                "encodingFormat": _PARQUET,
                "includes": "shards/*/*.parquet",
            },
        ],
        "recordSet": [_records(run.run) for run in facts.runs],
    }


def _records(run: int) -> dict[str, Any]:
    name = f"images-{run}"
    fields = []
    for field in INDEX:
        is_list = field.type.num_fields > 0
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": f"{name}/{field.name}",
                "description": (field.metadata or {}).get(b"meaning", field.name.replace("_", " ").encode()).decode(),
                "dataType": "sc:Float" if is_list else _TYPES[str(field.type)],
                **({"repeated": True} if is_list else {}),
                "source": {"fileObject": {"@id": f"index-{run}"}, "extract": {"column": field.name}},
            }
        )
    description = f"The images that run {run} gave features; of an image in several runs the last counts."
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": fields}
