"""The eight published checkpoints: where each lies, how long it is, and the sha256 it must have.

Upstream publishes no hashes; these agree across independent public copies of the files.
"""

import logging
import queue
import re
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.model.weight_cache import copy_stream, file_sha256, new_cache_file
from pipeline.storage.cache import cache_folder

BASE_URL = "https://dl.fbaipublicfiles.com/segment_anything_2"
TIMEOUT_S = 5.0
_SHORT_SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}

logger = logging.getLogger("pipeline")


@dataclass(frozen=True)
class PublishedFile:
    """One published checkpoint.

    Attributes:
        folder: below the base URL; 2.0 and 2.1 have one each.
        file: its name there.
        size_bytes: its length.
        sha256: its hash, in hexadecimal.
    """

    folder: str
    file: str
    size_bytes: int
    sha256: str


def _entry(name: str, size_bytes: int, sha256: str) -> tuple[str, PublishedFile]:
    folder = "092824" if name.startswith("sam2.1") else "072824"
    return name, PublishedFile(folder, f"{name}.pt", size_bytes, sha256)


PUBLISHED = dict(
    [
        _entry("sam2.1_hiera_tiny", 156008466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
        _entry(
            "sam2.1_hiera_small",
            184416285,
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        _entry(
            "sam2.1_hiera_base_plus",
            323606802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        _entry(
            "sam2.1_hiera_large",
            898083611,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        _entry("sam2_hiera_tiny", 155906050, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
        _entry("sam2_hiera_small", 184309650, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
        _entry(
            "sam2_hiera_base_plus",
            323493298,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        _entry("sam2_hiera_large", 897952466, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    ]
)


def published_file(name: str) -> PublishedFile | None:
    """The published checkpoint of a model, also by the short name of its file such as `sam2.1_hiera_b+`."""
    match = re.fullmatch(r"(sam2(?:\.1)?_hiera_)(t|s|b\+|l)", name)
    return PUBLISHED.get(match[1] + _SHORT_SIZES[match[2]] if match else name)


def fetch_published(
    name: str, *, base_url: str = BASE_URL, entry: PublishedFile | None = None, timeout_s: float = TIMEOUT_S
) -> Path:
    """Give the local copy of a published checkpoint, downloading it if it is not in the cache.

    Args:
        name: one of `PUBLISHED`, or the model that `entry` belongs to.
        base_url: what the file's folder and name are appended to.
        entry: the file to expect, instead of the one in `PUBLISHED`.
        timeout_s: longest wait for the connection, and for each piece of the body.

    Returns:
        The file in the cache, of the right length and sha256.

    Raises:
        CheckpointError: no published checkpoint of that name, it cannot be had, or it is not what was
            published.
    """
    wanted = entry or published_file(name)
    if wanted is None:
        raise CheckpointError(f"there is no published checkpoint of {name!r}, only of {', '.join(PUBLISHED)}")
    target = cache_folder() / f"{wanted.sha256}.pt"
    if target.is_file() and file_sha256(target) == wanted.sha256:
        return target
    url = f"{base_url.rstrip('/')}/{wanted.folder}/{wanted.file}"
    logger.info("fetching %s, %.0f MB", url, wanted.size_bytes / 1e6)
    with new_cache_file() as (file, temporary):
        try:
            with _open(url, timeout_s) as response:
                found = copy_stream(response, file, most_bytes=wanted.size_bytes)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise CheckpointError(
                f"cannot fetch {url}: {reason}; fetch it by other means and give its path as checkpoint"
            ) from None
        if found != (wanted.size_bytes, wanted.sha256):
            raise CheckpointError(
                f"{url} is not the published file: {found[0]} bytes with sha256 {found[1]}, but it must have "
                f"{wanted.size_bytes} bytes with sha256 {wanted.sha256}; try again, or give a path"
            )
        temporary.replace(target)
    return target


def refuse_mistaken(found: PublishedFile, model_name: str) -> None:
    """Refuse a file that pretends to be a published one or is that of another model; warn where only its name does.

    Args:
        found: a file that somebody named, with the size and sha256 it has.
        model_name: the model that it is for.

    Raises:
        CheckpointError: it has name and size of a published file but other bytes, or it is another published one.
    """
    entry = published_file(found.file.removesuffix(".pt"))
    pinned = {each.sha256: name for name, each in PUBLISHED.items()}
    belongs_to, wanted = pinned.get(found.sha256), published_file(model_name)
    if belongs_to is not None and wanted is not None and PUBLISHED[belongs_to] != wanted:
        raise CheckpointError(
            f"{found.file} is the published checkpoint of {belongs_to}, but the model is {model_name}: "
            f"use model={belongs_to} or another checkpoint"
        )
    if entry is None or found.sha256 == entry.sha256:
        return
    said = f"{found.file} has the name of a published checkpoint, but sha256 {found.sha256} instead of {entry.sha256}"
    if found.size_bytes == entry.size_bytes:
        raise CheckpointError(f"{said}: it is damaged, or was changed; fetch it again, or rename it if it is your own")
    logger.warning("%s: it is another file", said)


def _open(url: str, timeout_s: float) -> HTTPResponse:
    """Open a URL within a time limit that holds for the name lookup too, unlike the sockets' own."""
    if not url.startswith(("https://", "http://")):
        raise urllib.error.URLError(f"{url.partition(':')[0]} is not http or https")
    outcomes: queue.SimpleQueue[HTTPResponse | OSError | HTTPException] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            outcomes.put(urllib.request.urlopen(url, timeout=timeout_s))  # noqa: S310  checked above
        except (OSError, HTTPException) as error:
            outcomes.put(error)

    threading.Thread(target=attempt, daemon=True, name="open-checkpoint").start()
    try:
        outcome = outcomes.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
