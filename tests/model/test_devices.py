"""Device and precision choices."""

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.model.devices import resolve_device, resolve_precision

HAS_CUDA = torch.cuda.is_available()


def test_auto_takes_the_gpu_where_there_is_one():
    assert resolve_device("auto") == ("cuda" if HAS_CUDA else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:", "cuda:x", "CPU", ""])
def test_an_unknown_device_is_refused_with_the_choices(device: str):
    with pytest.raises(ConfigError, match=f"device '{device}' is unknown; choose auto, cpu, cuda or cuda:N"):
        resolve_device(device)


@pytest.mark.skipif(HAS_CUDA, reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(device: str):
    with pytest.raises(ConfigError, match=f"device '{device}' is not there: this machine has 0 usable GPUs"):
        resolve_device(device)


def test_a_gpu_number_beyond_the_last_is_refused():
    with pytest.raises(ConfigError, match="device 'cuda:99' is not there"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_named_precision_stays(precision: str):
    assert resolve_precision(precision, "cpu") == precision


def test_auto_means_bf16_on_a_cpu_only_if_it_multiplies_it():
    capabilities = torch.cpu.get_capabilities()
    expected = "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    assert resolve_precision("auto", "cpu") == expected


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")
def test_auto_means_bf16_on_a_gpu():
    assert resolve_precision("auto", "cuda") == "bf16"


def test_an_unknown_precision_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="precision 'fp8' is unknown; choose one of auto, fp32, bf16, fp16"):
        resolve_precision("fp8", "cpu")
