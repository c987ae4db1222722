"""A feature set's description for people and for tools, at its root. Nothing of ours reads it as truth."""

from pipeline.exports.card import card
from pipeline.exports.croissant import croissant, licence_in
from pipeline.exports.facts import UNKNOWN_LICENCE, Facts
from pipeline.featureset import catalog, paths
from pipeline.storage.folder import Folder


def describe(root: Folder, licence: str | None = None) -> None:
    """Writes the card and the Croissant metadata of a sealed feature set, unless they are there as they should be.

    Args:
        root: where it lies.
        licence: of its images, an SPDX identifier or a URL; None keeps what was said before.

    Raises:
        FeatureSetError: no feature set, or none of its runs is sealed.
        SinkError, AccessDeniedError, StoreUnavailableError: it cannot be read or written.
    """
    before = catalog.read_bytes(root, paths.CROISSANT)
    facts = Facts.of(root, licence or (before and licence_in(before)) or UNKNOWN_LICENCE)
    for name, data in ((paths.CROISSANT, croissant(facts)), (paths.CARD, card(facts).encode())):
        if catalog.read_bytes(root, name) != data:
            root.replace(name, data)
