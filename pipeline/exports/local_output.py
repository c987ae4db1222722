"""Files and folders that appear whole or not at all, on local disk, under the name that a user gave."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import AccessDeniedError, ConfigError, SinkError, StoreUnavailableError
from pipeline.storage.local import sync


def local_path(uri: str, field: str) -> Path:
    """The path of a file or folder that `field` of a configuration names.

    Raises:
        ConfigError: it is on no local disk.
    """
    if "://" in uri and not uri.startswith("file://"):
        raise ConfigError(
            f"{field}={uri} is not on local disk, where it has to be: give a path; features may be remote"
        )
    return Path(uri.removeprefix("file://")).expanduser().absolute()


@contextmanager
def replacing(path: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """A path beside `path`; what is written there takes its place when the block ends well.

    A file replaces the one before it in one step. Of a folder the old one steps aside first, and is gone after.

    Args:
        path: what is to appear.
        beside: a folder of the same file system where it is written first, if others look at all that is in its own.

    Raises:
        SinkError, AccessDeniedError: the place cannot be written.
    """
    with _writing(path), tempfile.TemporaryDirectory(dir=beside or path.parent, prefix=f".{path.name}-") as aside:
        staged = Path(aside) / path.name
        yield staged
        if staged.is_file():
            sync(staged)
        if staged.is_dir() and path.is_dir():
            path.rename(Path(aside) / "before")
        staged.replace(path)
        sync(path.parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except StoreUnavailableError:
        raise
    except PermissionError as error:
        raise AccessDeniedError(f"no permission to write {path}: {error.strerror or error}") from error
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}; mend that or give another path") from error
