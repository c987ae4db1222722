"""Our encoder alone, as JSON: seconds an image at 1024 px and errors, in the packed form and through the modules.

The weights are random, which changes no time. Through the modules is how SAM 2's own code computes: the same
operators in the same order, in float32 or under bf16 autocast.
    python benchmarks/encoder.py sam2.1_hiera_tiny
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from timing import median_s

import pipeline
from pipeline.execution.memory import keep_freed_memory


def main(name: str) -> None:
    """Prints it."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    keep_freed_memory()  # as encoder actors do
    encoder = pipeline.build_encoder(name, checkpoint="random")
    pixels = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    facts: dict[str, float] = {}
    with torch.inference_mode():
        exact = encoder.encode_exactly(pixels)["backbone_fpn"]
        for precision, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
            encoder.compute_dtype = dtype
            for how, encode in (("packed", encoder), ("modules", encoder.encode_plainly)):
                levels = encode(pixels)["backbone_fpn"]
                for level, (actual, wanted) in enumerate(zip(levels, exact, strict=True)):
                    error = (actual.float() - wanted).norm() / wanted.norm()
                    facts[f"{how} {precision} error {level}"] = float(error)
                facts[f"{how} {precision}"] = median_s(partial(encode, pixels), 5)
    with ThreadPoolExecutor(cores, initializer=partial(torch.set_num_threads, 1)) as lanes:
        work = partial(_all_lanes, lanes, encoder, pixels, cores)
        facts["packed bf16, a lane a core"] = median_s(work, 3) / (2 * cores)
    json.dump(facts, sys.stdout)


def _all_lanes(lanes: ThreadPoolExecutor, encoder: torch.nn.Module, pixels: torch.Tensor, cores: int) -> None:
    for done in [lanes.submit(_encode, encoder, pixels) for _ in range(2 * cores)]:
        done.result()


def _encode(encoder: torch.nn.Module, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        encoder(pixels)


if __name__ == "__main__":
    main(sys.argv[1])
