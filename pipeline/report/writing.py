"""Makes the report of a feature set and puts it beside the set's README.md, or where it is asked for."""

import time

from pipeline.exports.local_output import local_path, replacing
from pipeline.featureset import paths
from pipeline.report.contents import ReportSize, contents
from pipeline.report.page import page
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots


def write_report(
    root: Folder,
    size: ReportSize,
    *,
    dollars_per_gb_month: float,
    output: str | None = None,
    roots: Roots | None = None,
    within_s: float | None = None,
) -> str:
    """Writes the report of a sealed feature set; says where.

    Args:
        root: where the set lies.
        size: how much to show.
        dollars_per_gb_month: price of storage.
        output: path of the page; None: `report.html` in the feature set, wherever that is.
        roots: what may be read of images, if their URIs are not to be trusted.
        within_s: how long to read images; None: until all are read.

    Raises:
        ConfigError: the output is on no local disk.
        FeatureSetError: no feature set, none of its runs is sealed, or it is damaged.
        SinkError, AccessDeniedError, StoreUnavailableError: it cannot be read or written.
    """
    path = local_path(output, "output") if output else None
    until = None if within_s is None else time.monotonic() + within_s
    data = page(contents(root, size, dollars_per_gb_month=dollars_per_gb_month, roots=roots, until=until))
    if path is None:
        root.replace(paths.REPORT, data)
        return root.uri_of(paths.REPORT)
    with replacing(path) as staged:
        staged.write_bytes(data)
    return str(path)
