"""SAM 2 image features of very large corpora: build the encoder, embed images, open what was written.

Names are loaded on first use, so that importing the package costs neither torch nor ray.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pipeline.errors import PipelineError
    from pipeline.model.build import build_encoder
    from pipeline.preprocessing.transform import preprocess
    from pipeline.readers.feature_set import FeatureSet, open_features

_HOMES = {
    "FeatureSet": "pipeline.readers.feature_set",
    "PipelineError": "pipeline.errors",
    "build_encoder": "pipeline.model.build",
    "open_features": "pipeline.readers.feature_set",
    "preprocess": "pipeline.preprocessing.transform",
}

__all__ = ["FeatureSet", "PipelineError", "__version__", "build_encoder", "open_features", "preprocess"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
