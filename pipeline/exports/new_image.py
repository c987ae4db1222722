"""The pooled vector of an image that is not in the feature set, made as the set's own were made."""

from typing import Any

import numpy as np
import torch

from pipeline.errors import CheckpointError, ConfigError, FeatureSetError
from pipeline.featureset.fingerprint import CODE_VERSION
from pipeline.featureset.weights import weights_text
from pipeline.model.build import assemble_encoder
from pipeline.model.outputs import pool
from pipeline.model.published import PUBLISHED
from pipeline.model.weights import Weights, resolve_weights
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.transform import DESCRIPTION, preprocess


def encode_image(data: bytes, settings: dict[str, Any], checkpoint: str | None = None) -> np.ndarray:
    """The pooled vector of an encoded image, (D,) float32, L2-normalised.

    Args:
        data: of the image file.
        settings: of the feature set.
        checkpoint: where the set's weights are; random ones need none.

    Raises:
        ImageError: the image cannot be decoded.
        ConfigError: no checkpoint is named, or one with other weights.
        FeatureSetError: this version does not make the numbers that the set holds.
    """
    weights = weights_of(settings, checkpoint)
    side_px, rules = _preprocessing(settings)
    pixels = preprocess(data, side_px, rules=rules)
    encoder = assemble_encoder(settings["encoder"], weights, device="auto", precision=settings["precision"])
    with torch.inference_mode():
        device = next(encoder.parameters()).device
        output = encoder(pixels[None].to(device))
        return np.asarray(pool(output, settings.get("pooling", "mean"))[0].cpu().numpy())


def weights_of(settings: dict[str, Any], checkpoint: str | None) -> Weights:
    """The weights that the feature set was made with.

    Raises:
        ConfigError: no checkpoint is named, or one with other weights.
    """
    identity = settings["weights"]
    if checkpoint is None:
        if identity["kind"] != "random":
            raise ConfigError(
                f"model.checkpoint is not set: the features were made with the checkpoint of sha256 "
                f"{identity['sha256']}; give its path or URI{_or_published(identity['sha256'])}"
            )
        return Weights("random", seed=identity["seed"])
    published = next((name for name, file in PUBLISHED.items() if file.sha256 == identity.get("sha256")), "this model")
    weights = resolve_weights(checkpoint, published)
    if weights.identity != identity:
        raise CheckpointError(
            f"model.checkpoint={checkpoint} has weights {weights_text(weights.identity)}, but the features were made "
            f"with {weights_text(identity)}; give that one"
        )
    return weights


def _preprocessing(settings: dict[str, Any]) -> tuple[int, PixelRules]:
    """The side of the square and the rules that a set's pixels were made with."""
    described = {key: value for key, value in settings["preprocessing"].items() if key not in ("frames", "tiles")}
    side_px, background = described.pop("side_px"), described.get("background", DESCRIPTION["background"])
    if described != {**DESCRIPTION, "background": background} or settings["code_version"] != CODE_VERSION:
        raise FeatureSetError(
            "the features were made by another version of this code, whose numbers this one does not make; "
            "search with that version, or embed the images again"
        )
    return int(side_px), PixelRules(background=tuple(background))


def _or_published(sha256: str) -> str:
    return ", or 'published'" if any(file.sha256 == sha256 for file in PUBLISHED.values()) else ""
