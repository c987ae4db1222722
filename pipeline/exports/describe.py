"""A feature set's description for people and for tools, at its root. Nothing of ours reads it as truth."""

from contextlib import suppress

from pipeline.errors import AccessDeniedError, StoreUnavailableError
from pipeline.exports.card import card
from pipeline.exports.croissant import croissant, licence_in
from pipeline.exports.facts import UNKNOWN_LICENCE, Facts
from pipeline.featureset import paths
from pipeline.storage.folder import Folder


def describe(root: Folder, licence: str | None = None) -> None:
    """Writes the card and the Croissant metadata of a sealed feature set, in place of those that may be there.

    Args:
        root: where it lies.
        licence: of its images, an SPDX identifier or a URL; None keeps what was said before.

    Raises:
        FeatureSetError: no feature set, or none of its runs is sealed.
        SinkError, AccessDeniedError, StoreUnavailableError: it cannot be read or written.
    """
    facts = Facts.of(root, licence or _licence_before(root))
    root.replace(paths.CROISSANT, croissant(facts))
    root.replace(paths.CARD, card(facts).encode())


def _licence_before(root: Folder) -> str:
    before = None
    with suppress(FileNotFoundError):
        try:
            before = licence_in(root.read(paths.CROISSANT))
        except PermissionError as error:
            raise AccessDeniedError(f"no permission to read {root.uri_of(paths.CROISSANT)}") from error
        except StoreUnavailableError:
            raise
    return before or UNKNOWN_LICENCE
