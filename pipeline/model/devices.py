"""Where the encoder runs and how precisely: what `auto` means, and what this machine cannot do."""

import re

import torch

from pipeline.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
COMPUTE_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: str) -> str:
    """Turn a device choice into a device of this machine.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: an unknown choice, or a GPU that is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise ConfigError(f"device {device!r} is unknown; choose auto, cpu, cuda or cuda:N")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(match[1] or 0) >= num_gpus:
        raise ConfigError(f"device {device!r} is not there: this machine has {num_gpus} usable GPUs; use cpu or auto")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Turn a precision choice into the precision a device computes in.

    `auto` means bf16 where the hardware multiplies it natively (CUDA; CPUs with AMX tiles or AVX-512 BF16), else fp32.

    Args:
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: as `resolve_device` takes or returns it.

    Returns:
        `fp32`, `bf16` or `fp16`.

    Raises:
        ConfigError: an unknown choice of either.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    # A GPU that is named is taken at its word: it may be another machine's.
    named_gpu = device.startswith("cuda")
    if named_gpu or resolve_device(device) != "cpu":
        return "bf16"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
