"""Which weights an encoder gets: named once by the driver, found again by every worker.

Weights are identified by content. Two paths of one file are the same weights, and a file that changed in
between is refused rather than used.
"""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pipeline.errors import BadKeyError, CheckpointError, ConfigError, UriError
from pipeline.model.checkpoint import load_checkpoint
from pipeline.model.checkpoint_kind import check_size, regular_file
from pipeline.model.decoder_inputs import DecoderInputs
from pipeline.model.image_encoder import ImageEncoder
from pipeline.model.published import PUBLISHED, PublishedFile, fetch_published, published_file, refuse_mistaken
from pipeline.model.random_weights import fill_random
from pipeline.model.weight_cache import copy_stream, file_sha256, new_cache_file
from pipeline.storage.cache import cache_folder
from pipeline.storage.other import file_system_of
from pipeline.storage.trouble import store_errors
from pipeline.storage.uri import Place, parse, redacted, shown

SUFFIXES = (".pt", ".pth", ".safetensors")
CHOICES = (
    "the path or URI of a .pt or .safetensors file, published, random (untrained), "
    "or auto (published if it can be had, else random)"
)
_VERSION_MARKS = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "md5Hash", "created", "updated")

logger = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Weights:
    """The weights of an encoder, by what they are; plain and small enough to send anywhere.

    Attributes:
        kind: `file`, `published` or `random`.
        uri: the file's path or URI, or the name of the published model; None for random weights.
        sha256: of the file, in hexadecimal; None for random weights.
        seed: of random weights; None for files.
    """

    kind: Literal["file", "published", "random"]
    # A URI may hold a signature or a password, and a repr ends up in logs.
    uri: str | None = field(default=None, repr=False)
    sha256: str | None = None
    seed: int | None = None

    @property
    def label(self) -> str:
        """What people are shown: the file's name and hash, or that the weights are untrained."""
        if self.kind == "random":
            return f"random (seed {self.seed}, untrained)"
        name = f"{self.uri}.pt" if self.kind == "published" else shown(redacted(self.uri or "").rpartition("/")[2])
        return f"{name} sha256 {(self.sha256 or '')[:8]}..."

    @property
    def identity(self) -> dict[str, Any]:
        """What makes these weights these weights, wherever they were found."""
        if self.kind == "random":
            return {"kind": "random", "seed": self.seed}
        return {"kind": "checkpoint", "sha256": self.sha256}


def resolve_weights(checkpoint: str | None, model_name: str) -> Weights:
    """Turn a user's choice of checkpoint into weights; remote and published files are fetched on the way.

    Args:
        checkpoint: the path or URI of a `.pt`, `.pth` or `.safetensors` file, `published`, `random`,
            `random:SEED`, or `auto`.
        model_name: the model they are for; only the published ones have published weights.

    Raises:
        ConfigError: `checkpoint` is None; the message says what there is to choose from.
        CheckpointError: the file is not there, cannot be fetched, or is not a checkpoint's kind of file.
    """
    if checkpoint is None:
        raise ConfigError(f"no checkpoint is named; give {CHOICES}")
    seeded = re.fullmatch(r"random(?::(\d+))?", checkpoint)
    if seeded:
        return Weights("random", seed=int(seeded[1] or 0))
    if checkpoint == "published":
        return _published(model_name)
    if checkpoint == "auto":
        return _published_or_random(model_name)
    return _from_file(checkpoint, model_name)


def local_copy(weights: Weights) -> Path:
    """The file of some weights on this machine, fetched if need be and checked against its sha256.

    Raises:
        CheckpointError: it cannot be had, is no longer what it was, or the weights are random and have no
            file.
    """
    if weights.uri is None or weights.sha256 is None:
        raise CheckpointError(f"{weights.label} weights have no file")
    place = None if weights.kind == "published" else _place(weights.uri)
    cached = cache_folder() / f"{weights.sha256}{'.pt' if place is None else _suffix(place.key)}"
    if cached.is_file() and file_sha256(cached) == weights.sha256:
        return cached
    if place is None:
        return fetch_published(weights.uri)
    path = _on_disk(place)
    if file_sha256(path) != weights.sha256:
        raise CheckpointError(
            f"{shown(weights.uri)} has sha256 {file_sha256(path)}, but this run began with {weights.sha256}; "
            "put the first file back, or start another run"
        )
    return path


def load_weights(encoder: ImageEncoder | DecoderInputs, weights: Weights) -> None:
    """Give an encoder, or what lies between it and the mask decoder, its weights, in place and on the CPU.

    Raises:
        CheckpointError: as `local_copy`, or the file does not fit the encoder.
    """
    if weights.seed is not None:
        fill_random(encoder, weights.seed)
    else:
        load_checkpoint(encoder, local_copy(weights), name=shown(weights.uri or ""))


def _published(model_name: str) -> Weights:
    entry = published_file(model_name)
    if entry is None:
        raise CheckpointError(
            f"there is no published checkpoint of {model_name!r}, only of {', '.join(PUBLISHED)}; "
            f"choose one of these models, or another checkpoint: {CHOICES}"
        )
    fetch_published(model_name)
    return Weights("published", uri=entry.file.removesuffix(".pt"), sha256=entry.sha256)


def _published_or_random(model_name: str) -> Weights:
    try:
        return _published(model_name)
    except CheckpointError as error:
        logger.warning(
            "RANDOM WEIGHTS: the features come from an UNTRAINED encoder and mean nothing, because %s",
            error,
        )
        return Weights("random", seed=0)


def _from_file(checkpoint: str, model_name: str) -> Weights:
    place = _place(checkpoint)
    path = _on_disk(place)
    size_bytes = regular_file(path, str(path)).st_size
    weights = Weights("file", uri=str(place), sha256=file_sha256(path))
    file = place.key.rpartition("/")[2]
    refuse_mistaken(PublishedFile("", file, size_bytes, weights.sha256 or ""), model_name)
    return weights


def _place(uri: str) -> Place:
    """Where a checkpoint is: a local file, whose path holds in another working folder, or an object of a store.

    Links are followed and folders may be left by `..`: who names a checkpoint may read what the job may.
    """
    try:
        place = parse(uri)
    except BadKeyError as error:
        raise CheckpointError(f"there is no checkpoint file of that name: {error}") from None
    except UriError:
        place = None
    # To an object store the question mark is part of a key; what was not understood may hold a secret behind it.
    name = uri.partition("?")[0] if place is None or place.is_web else place.key
    said = shown(uri).partition("?")[0] if place is None else shown(uri)
    if _suffix(name) not in SUFFIXES:
        raise CheckpointError(f"checkpoint {said!r} is not a {', '.join(SUFFIXES)} file; give {CHOICES}")
    if place is None or place.is_web or (place.leads_up and not place.is_local):
        raise CheckpointError(
            f"cannot fetch the checkpoint {said}: only from s3, gs, az, without a user, '..' and a URI in a URI; "
            "fetch it by other means and give its path"
        )
    return place


def _on_disk(place: Place) -> Path:
    return Path(place.path) if place.is_local else _fetch(place)


def _fetch(place: Place) -> Path:
    """Fetch a remote file into the cache, once for as long as the store says that it is unchanged."""
    said = shown(str(place))
    try:
        with store_errors(said):
            return _fetch_once(place)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {said}; give {CHOICES}") from None
    except CheckpointError:
        raise
    except (ConfigError, OSError, ValueError, ImportError) as error:
        raise CheckpointError(f"cannot fetch the checkpoint {said}: {type(error).__name__}: {error}") from None


def _fetch_once(place: Place) -> Path:
    filesystem, remote_path = file_system_of(place)
    info = filesystem.info(remote_path)
    check_size(info.get("size"), shown(str(place)))
    note = cache_folder() / f"{_version(place, info)}.known"
    known = cache_folder() / note.read_text() if note.is_file() else None
    if known is not None and known.is_file() and file_sha256(known) == known.stem:
        return known
    with filesystem.open(remote_path, "rb") as remote, new_cache_file() as (file, temporary):
        size_bytes, sha256 = copy_stream(remote, file)
        check_size(size_bytes, shown(str(place)))
        target = cache_folder() / f"{sha256}{_suffix(place.key)}"
        temporary.replace(target)
    with new_cache_file() as (file, temporary):
        file.write(target.name.encode())
        file.flush()
        temporary.replace(note)
    return target


def _version(place: Place, info: dict[str, Any]) -> str:
    """A name for what lies at a place now; a new one every time where the store does not tell changes."""
    marks = [f"{key}={info[key]}" for key in _VERSION_MARKS if info.get(key)]
    text = f"{place} {info.get('size')} {marks or uuid4().hex}"
    return hashlib.sha256(text.encode()).hexdigest()


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
