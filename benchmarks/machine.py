"""What this machine can do at most, as JSON: matrix products in TFLOP/s, copies in GB/s."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import torch
from timing import median_s

SIDE = 2048


def main() -> None:
    """Prints it."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    facts: dict[str, float | str] = {"cpu": cpu()}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        x, w = torch.randn(SIDE, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
        packed = torch.ops.mkldnn._reorder_linear_weight(w, SIDE)  # noqa: SLF001
        multiply = partial(torch.ops.mkldnn._linear_pointwise, x, packed, None, "none", [], "")  # noqa: SLF001
        seconds = median_s(multiply)
        facts[f"{name} TFLOP/s"] = 2 * SIDE**3 / seconds / 1e12
    block = torch.ones(64 << 20, dtype=torch.uint8)
    target = torch.empty_like(block)
    facts["copy GB/s"] = block.numel() / median_s(lambda: target.copy_(block)) / 1e9
    json.dump(facts, sys.stdout)


def cpu() -> str:
    """Its name, cores and what of them multiplies bf16."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    known = [name for name in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(name)]
    return f"{names[0] if names else 'unknown'}, {len(os.sched_getaffinity(0))} cores, {' '.join(known) or 'no bf16'}"


if __name__ == "__main__":
    main()
