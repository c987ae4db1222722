"""JPEG decoders over the same photographs, one thread, as JSON: milliseconds an image, and whether pixels are Pillow's.

python benchmarks/peers/jpeg_decoders.py PHOTOS
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image


def with_pillow(data: bytes) -> np.ndarray:
    """As the pipeline decodes."""
    image = Image.open(io.BytesIO(data))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def with_opencv(data: bytes) -> np.ndarray:
    """OpenCV's own libjpeg-turbo."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "Pillow": with_pillow,
    "simplejpeg": simplejpeg.decode_jpeg,
    "OpenCV": with_opencv,
}


def main(photos: str) -> None:
    """Prints it."""
    cv2.setNumThreads(1)
    encoded = [path.read_bytes() for path in sorted(Path(photos).iterdir())[:32]]
    facts = {}
    for name, decode in DECODERS.items():
        is_same = all(np.array_equal(decode(data), with_pillow(data)) for data in encoded)
        began = time.perf_counter()
        for data in encoded:
            decode(data)
        spent_ms = (time.perf_counter() - began) / len(encoded) * 1e3
        facts[f"{name}, ms an image ({'same' if is_same else 'other'} pixels)"] = spent_ms
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
