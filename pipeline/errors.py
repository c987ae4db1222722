"""Everything that can go wrong, sorted by what the caller can do about it.

PipelineError                the base of all; `exit_code` is what a job ends with
├── ConfigError              64  mend the command or the configuration
│   ├── CheckpointError      64  another checkpoint, or another model
│   ├── SourceError          64  another source, or its missing files
│   ├── UriError             64  another URI: of a scheme that is read, below a root that is allowed
│   │   └── BadKeyError      64  another name for the file or object
│   └── InputListError       65  mend the list of images, or leave out what cannot be taken of it
├── SinkError                73  make the sink writable, or choose another
├── AccessDeniedError        77  get the permission
├── RunIncompleteError       75  run the same command again
│   ├── StoreUnavailableError 75 an object store is in trouble: try again later
│   └── HeadLostError        75  the head of the Ray cluster is gone: start one, run the same command again
├── TooManyFailedError        3  look at the quarantined images, or allow more of them
├── RunConflictError         78  another run or other settings own the feature set
├── RunDrainedError         143  stopped on request: run the same command again
├── FeatureSetError          65  the feature set cannot be read as asked
│   ├── AuditFailedError     65  its features are too far off: look for a wrong device or driver
│   └── ImageNotFoundError   65  no such image in it
└── ImageError               --  one bad image: becomes a quarantine row, never ends a run
"""

from collections.abc import Callable
from functools import partial

from pipeline.redaction import shown


class PipelineError(Exception):
    """Base of every error this package raises on purpose; the message says what to do.

    Args:
        lines: of the message, which may repeat whatever anybody said: what is secret in it does not get in, and a name
            with a line end in it stays within its line.
    """

    exit_code = 70

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(shown, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class ConfigError(PipelineError):
    """The command or a configuration is wrong; nothing was read or written."""

    exit_code = 64


class CheckpointError(ConfigError):
    """The checkpoint is missing, damaged, or belongs to another model."""


class SourceError(ConfigError):
    """The source is not there or holds no images."""


class UriError(ConfigError):
    """A URI that is not read, or not from here; in a list it costs one image.

    Attributes:
        error_type: what its quarantine row says.
    """

    error_type = "UriNotAllowed"


class BadKeyError(UriError):
    """A name that no store has, or that would break whatever shows it."""

    error_type = "BadKey"


class InputListError(ConfigError):
    """What lists the images is damaged, hostile, or holds what cannot be taken; the message names file and row."""

    exit_code = 65


class SinkError(PipelineError):
    """The sink cannot be written: no such place, read-only, or full."""

    exit_code = 73


class AccessDeniedError(PipelineError):
    """The operating system or the store refused access."""

    exit_code = 77


class RunIncompleteError(PipelineError):
    """Some units are not committed yet; the same command continues the run."""

    exit_code = 75


class StoreUnavailableError(RunIncompleteError, ConnectionError):
    """An object store did not answer, or not as it should, for as long as it was given; trying again may help."""


class HeadLostError(RunIncompleteError):
    """The head of the Ray cluster does not answer any more; the process had better end at once."""


class TooManyFailedError(PipelineError):
    """More images failed than the run allows; what is committed stays."""

    exit_code = 3


class RunConflictError(PipelineError):
    """Another run, or a run with other settings, owns this feature set."""

    exit_code = 78


class RunDrainedError(PipelineError):
    """The run was asked to stop; the same command continues it."""

    exit_code = 143


class FeatureSetError(PipelineError):
    """A feature set cannot be read as asked: not there, not sealed, damaged, or without that map."""

    exit_code = 65


class AuditFailedError(FeatureSetError):
    """Stored features are further from the reference than the precision explains; the run is not sealed."""


class ImageNotFoundError(FeatureSetError, KeyError):
    """The feature set has no image of that id."""


class ImageError(PipelineError):
    """One image cannot be fetched, decoded or encoded; it becomes a quarantine row.

    Attributes:
        stage: `fetch`, `decode` or `encode`.
        error_class: `transient` (trying again may help) or `permanent`.
        error_type: short stable name of the cause, such as `TruncatedImage`.
    """

    def __init__(self, message: str, *, stage: str, error_type: str, error_class: str = "permanent") -> None:
        super().__init__(message)
        self.stage = stage
        self.error_type = error_type
        self.error_class = error_class

    def __reduce__(self) -> tuple[Callable[..., "ImageError"], tuple[str]]:
        """How it travels between processes; left to itself, Python would forget the keywords and fail."""
        facts = {"stage": self.stage, "error_type": self.error_type, "error_class": self.error_class}
        return partial(type(self), **facts), (str(self),)
