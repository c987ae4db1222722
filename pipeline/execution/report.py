"""The report at the end of a run: smaller than what `jobs/report.py` makes, in bounded time, never a reason to fail."""

from pipeline.export_config import ReportConfig
from pipeline.featureset import catalog
from pipeline.observability.progress import announce
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots

# So much adds a few seconds to a run, whatever its size; a larger set has to be read through to know what counts.
_IMAGES, _GALLERY, _WITHIN_S = 100, 8, 10.0
_MOST_ROWS = 1_000_000


def report_at_end(root: Folder, roots: Roots | None, *, most_rows: int = _MOST_ROWS) -> str:
    """Writes the report of a set whose run was just sealed; says where, or nothing if there is none.

    Args:
        root: the feature set.
        roots: what may be read of images, if the list of images is not to be trusted.
        most_rows: of a set that is gone through.
    """
    try:
        num_rows = sum(run.num_planned for run in catalog.sealed_runs(root))
        if num_rows > most_rows:
            return f"jobs/report.py sink.uri={root.uri} writes it; {num_rows} images are too many to go through here"
        from pipeline.report.contents import ReportSize
        from pipeline.report.writing import write_report

        price = ReportConfig.dollars_per_gb_month
        size = ReportSize(_IMAGES, _GALLERY)
        return write_report(root, size, dollars_per_gb_month=price, roots=roots, within_s=_WITHIN_S)
    except Exception as error:  # noqa: BLE001  the run is sealed, and nothing about a picture of it may end it otherwise
        announce(f"the run is sealed, but there is no report of it: {error}; jobs/report.py makes one")
        return ""
