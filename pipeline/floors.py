"""The lowest versions that this code runs on where older ones have known holes, each with its reason.

Versions are read from what is installed beside the packages; nothing is imported to find out.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.version import InvalidVersion, Version

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Floor:
    """The lowest version of a package that is used, and what is wrong with those below."""

    package: str
    lowest: str
    reason: str


FLOORS = (
    Floor("ray", "2.55.0", "CVE-2026-41486: metadata of a Parquet column runs code; token authentication needs 2.52"),
    Floor("pillow", "13.0.0", "GHSA-8g5g-8vmr-9782, CVE-2026-96639: an image writes beyond its memory"),
    Floor("torch", "2.10.0", "CVE-2025-32434, CVE-2026-24747: a checkpoint runs code in spite of weights_only"),
    Floor("hydra-core", "1.3.7", "CVE-2026-68508, CVE-2026-106439: a configuration runs code"),
    Floor("fsspec", "2026.6.0", "CVE-2026-104851: a reference:// URI runs code"),
    Floor("s3fs", "2026.6.0", "older ones ignore that a small object must be created only if absent"),
    Floor("pyarrow", "14.0.1", "CVE-2023-47248: a Parquet or Arrow file runs code"),
    Floor("pyyaml", "5.4", "CVE-2020-14343: a YAML file runs code"),
    Floor("jinja2", "3.1.6", "CVE-2025-27516: a template leaves its sandbox, on which fsspec's fix relies"),
)


def check_floors() -> None:
    """Refuse to run with a package below its floor; one that is not installed cannot do harm.

    Raises:
        ConfigError: names every such package with its version, its floor and the reason.
    """
    low = [
        f"{floor.package} {found} is installed, at least {floor.lowest} is needed ({floor.reason})"
        for floor in FLOORS
        if (found := _installed(floor.package)) is not None and _is_below(found, floor.lowest)
    ]
    if low:
        raise ConfigError(f"{'; '.join(low)}: install what constraints.txt pins")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_below(found: str, lowest: str) -> bool:
    try:
        return Version(found) < Version(lowest)
    except InvalidVersion:  # nobody knows what it is
        return True
