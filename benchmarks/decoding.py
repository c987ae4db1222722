"""Decoding, kind by kind: what the rules of docs/images.md cost over Pillow's own way to RGB.

Pillow's way, which knows neither profiles nor backgrounds, and ours decode the same bytes in turn, in one process and
on one core; a ratio is the median of those pair by pair. Ordinary photographs, the first two rows, must give the same:
    PYTHONPATH=. taskset -c 0 python benchmarks/decoding.py [--pairs 41] [--output benchmarks/results/...]
"""

import argparse
import io
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from pipeline.preprocessing.decode import decode
from pipeline.sources.sample import SampleSource
from tests.preprocessing.forged import SRGB_PRIMARIES, gamma_curve, rgb_profile

SIZE = (1600, 1200)


def pillow_only(data: bytes) -> np.ndarray:
    """Open, decode, turn upright, convert."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.getexif().get(ExifTags.Base.Orientation, 1)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def photograph() -> Image.Image:
    (batch,) = SampleSource().refs()
    uris = {row["image_id"]: row["uri"] for row in batch.to_pylist()}
    with Image.open(uris["chelsea.png"]) as opened:
        return Image.fromarray(np.asarray(opened.convert("RGB"))).resize(SIZE)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def kinds() -> dict[str, bytes]:
    image = photograph()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = rgb_profile(SRGB_PRIMARIES, gamma_curve(1.8))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    clear = image.copy()
    clear.putalpha(image.convert("L"))
    return {
        "JPEG": encoded(image, "JPEG", quality=90),
        "JPEG, sRGB profile": encoded(image, "JPEG", quality=90, icc_profile=srgb),
        "JPEG, another profile": encoded(image, "JPEG", quality=90, icc_profile=other),
        "JPEG, CMYK": encoded(image.convert("CMYK"), "JPEG", quality=90),
        "PNG": encoded(image, "PNG"),
        "PNG, alpha": encoded(clear, "PNG"),
        "PNG, 16 bits of grey": encoded(deep, "PNG"),
        "WebP": encoded(image, "WEBP", quality=90),
        "AVIF": encoded(image, "AVIF", speed=8),
        "HEIC": encoded(image, "HEIF", quality=60),  # pipeline.preprocessing registered it
    }


def seconds(work: Callable[[bytes], np.ndarray], data: bytes) -> float:
    began = time.perf_counter()
    work(data)
    return time.perf_counter() - began


def row(name: str, data: bytes, num_pairs: int) -> str:
    seconds(pillow_only, data), seconds(decode, data)
    pairs = []
    for number in range(num_pairs):
        order = (pillow_only, decode) if number % 2 else (decode, pillow_only)
        measured = {work: seconds(work, data) for work in order}
        pairs.append((measured[pillow_only], measured[decode]))
    ratios = sorted(ours / plain for plain, ours in pairs)
    plain_ms, ours_ms = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
    spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[-len(ratios) // 4]:.2f}"
    is_same = "yes" if np.array_equal(pillow_only(data), decode(data)) else "no"
    return f"| {name} | {plain_ms:.1f} | {ours_ms:.1f} | {statistics.median(ratios):.3f} ({spread}) | {is_same} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    rows = [row(name, data, chosen.pairs) for name, data in kinds().items()]
    num_cores, size, pillow = len(os.sched_getaffinity(0)), f"{SIZE[0]} x {SIZE[1]}", Image.__version__
    facts = f"{num_cores} core ({platform.machine()}), {size} pixels, {chosen.pairs} pairs, Pillow {pillow}"
    lines = [
        "# Decoding, kind by kind",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {facts}",
        "",
        "| kind | Pillow's own way, ms | ours, ms | ratio, median (middle half) | same pixels |",
        "|---|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if chosen.output:
        chosen.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
