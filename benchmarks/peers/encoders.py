"""The same encoder in transformers and OpenVINO, as JSON: seconds an image at 1024 px. Random weights.

Runs in an environment of its own (make bench makes it):
    python benchmarks/peers/encoders.py sam2.1_hiera_tiny
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import openvino
import torch
from vision_models import vision_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from timing import median_s


class Levels(torch.nn.Module):
    """The feature maps alone, which is what OpenVINO's converter can follow."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The maps."""
        return tuple(self.model(pixels).fpn_hidden_states)


def main(name: str) -> None:
    """Prints it."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    model, pixels = vision_model(name), torch.randn(1, 3, 1024, 1024)
    facts: dict[str, float] = {}
    with torch.inference_mode():
        facts["transformers fp32"] = median_s(partial(model, pixels), 5)
        converted = openvino.convert_model(Levels(model).eval(), example_input=pixels)
        half = vision_model(name).to(torch.bfloat16)
        facts["transformers bf16"] = median_s(partial(half, pixels.to(torch.bfloat16)), 5)
    for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": cores}
        request = openvino.Core().compile_model(converted, "CPU", options).create_infer_request()
        facts[f"OpenVINO {precision}"] = median_s(partial(request.infer, [np.asarray(pixels)]), 5)
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
