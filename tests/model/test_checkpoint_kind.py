"""What kind a checkpoint is shows from its outside; everything but plain weights is refused before torch reads it."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint_kind import MAX_BYTES, check_kind, check_size, regular_file

WEIGHTS = {"a": torch.arange(3.0), "b": torch.zeros(2, 2).half(), "c": torch.tensor(3)}


def saved(path: Path, content: object = WEIGHTS) -> Path:
    torch.save(content, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_kind(path, "the file")
    assert str(caught.value).startswith(("the file ", "there is no"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewritten(source: Path, target: Path, *, compression: int = zipfile.ZIP_STORED, more: dict[str, bytes]) -> Path:
    """A copy of an archive by Python's own zip writer, with more members or other ones of the same name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, more.pop(name, old.read(name)))
        for name, content in more.items():
            new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"model": OrderedDict(WEIGHTS), "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2).double()}}}},
        torch.nn.Linear(2, 2).state_dict(),
        {"p": torch.nn.Parameter(torch.zeros(2).bfloat16())},
    ],
)
def test_what_torch_saves_of_dense_tensors_passes(tmp_path: Path, content: object):
    check_kind(saved(tmp_path / "x.pt", content), "the file")


def test_an_archive_by_another_writer_passes(tmp_path: Path):
    check_kind(rewritten(saved(tmp_path / "x.pt"), tmp_path / "y.pt", more={}), "the file")
    save_file(WEIGHTS, tmp_path / "x.safetensors")
    check_kind(tmp_path / "x.safetensors", "the file")


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        (torch.sparse_coo_tensor([[0], [1]], [1.0], (2, 2)), "_rebuild_sparse_tensor"),
        (torch.eye(2).to_sparse_csr(), "_rebuild_sparse_tensor"),
        (torch.zeros(2, device="meta"), "_rebuild_meta_tensor_no_storage"),
        (torch.zeros(2).to(torch.float8_e4m3fn), "_rebuild_tensor_v3"),
    ],
    ids=["sparse", "csr", "meta", "float8"],
)
def test_tensors_that_are_not_plain_are_refused_by_how_they_are_rebuilt(tmp_path: Path, tensor, name: str):
    assert f"holds a tensor that is not dense (torch._utils {name})" in refusal(saved(tmp_path / "x.pt", {"a": tensor}))


def test_quantized_tensors_are_refused(tmp_path: Path):
    saved(tmp_path / "x.pt")
    pickled = b"\x80\x02ctorch._utils\n_rebuild_qtensor\n."
    path = rewritten(tmp_path / "x.pt", tmp_path / "q.pt", more={"x/data.pkl": pickled})
    assert "not dense (torch._utils _rebuild_qtensor)" in refusal(path)


class Malicious:
    """Makes a folder when unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self):
        return os.mkdir, (str(self.trap),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_names_code_is_refused_by_the_name(tmp_path: Path, protocol: int):
    pickled = pickle.dumps(Malicious(tmp_path / "trap"), protocol=protocol)
    path = rewritten(saved(tmp_path / "x.pt"), tmp_path / "y.pt", more={"x/data.pkl": pickled})
    said = refusal(path)
    assert "holds code, which is never run" in said
    assert ("posix mkdir" if protocol == 2 else "STACK_GLOBAL") in said
    assert not (tmp_path / "trap").exists()


def old_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))


def torch_script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("ts/data.pkl", "ts/code/__torch__.py", "ts/constants.pkl", "ts/version"):
            archive.writestr(name, b"x")


def exported_program(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/data/weights/weight_0", "x/models/model.json", "x/archive_format"):
            archive.writestr(name, b"pt2")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (old_tar, "a format of torch before 1.6"),
        (lambda path: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False), "a format of torch before 1.6"),
        (lambda path: path.write_bytes(pickle.dumps(3)), "or a bare pickle"),
        (torch_script, "is a TorchScript program, which is never run"),
        (exported_program, "is an exported program (.pt2), which is never run"),
        (lambda path: path.write_bytes(b"hello"), "not a whole zip archive"),
        (lambda path: path.write_bytes(b""), "not a whole zip archive"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 200), "not a whole zip archive"),
    ],
    ids=["tar", "legacy", "pickle", "torchscript", "pt2", "text", "empty", "zeros"],
)
def test_other_kinds_of_file_are_refused_by_kind(tmp_path: Path, make, said: str):
    make(tmp_path / "x.pt")
    assert said in refusal(tmp_path / "x.pt")


def test_compressed_members_are_refused_however_much_they_would_become(tmp_path: Path):
    path = rewritten(
        saved(tmp_path / "x.pt"),
        tmp_path / "y.pt",
        compression=zipfile.ZIP_DEFLATED,
        more={"x/data/9": bytes(50 << 20)},
    )
    assert path.stat().st_size * 500 < 50 << 20
    assert "holds compressed or encrypted members" in refusal(path)


@pytest.mark.parametrize("name", ["x/../../evil", "x/code.py", "y/data/0", "/etc/passwd", "x/data/0/deeper"])
def test_members_that_torch_does_not_write_are_refused(tmp_path: Path, name: str):
    path = rewritten(saved(tmp_path / "x.pt"), tmp_path / "y.pt", more={name: b"1"})
    assert "is not one that torch.save writes" in refusal(path)


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path):
    data = bytearray(rewritten(saved(tmp_path / "x.pt"), tmp_path / "y.pt", more={"x/data/8": b"8" * 99}).read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<2L", 1 << 30, 1 << 30)
    (tmp_path / "y.pt").write_bytes(data)
    assert "lie over each other" in refusal(tmp_path / "y.pt")


@pytest.mark.parametrize("writer", ["torch", "python"])
def test_bytes_before_or_after_the_archive_and_cut_ones_are_refused(tmp_path: Path, writer: str):
    path = saved(tmp_path / "x.pt")
    if writer == "python":
        path = rewritten(path, tmp_path / "y.pt", more={})
    whole = path.read_bytes()
    for changed in (
        b"#!/bin/sh\n" + whole,
        whole[:4] + b"\0" * 9 + whole[4:],
        whole + b"x",
        whole[:-1],
        whole[: len(whole) // 2],
    ):
        path.write_bytes(changed)
        assert "is damaged or not a checkpoint" in refusal(path)


def test_a_pickle_or_a_directory_larger_than_any_is_refused_unread(tmp_path: Path):
    path = rewritten(saved(tmp_path / "x.pt"), tmp_path / "y.pt", more={"x/data.pkl": bytes(5 << 20)})
    assert "no data.pkl of at most 4,194,304 bytes" in refusal(path)
    data = bytearray(rewritten(tmp_path / "x.pt", path, more={}).read_bytes())
    with path.open("wb") as file:  # a directory of 5 MB, in a file that has it
        file.write(data[:-22])
        file.write(bytes(5 << 20))
        size_bytes, start = struct.unpack("<2L", data[-10:-2])
        file.write(data[-22:-10] + struct.pack("<2LH", size_bytes + (5 << 20), start, 0))
    assert "its directory is not that" in refusal(path)


def test_a_flipped_byte_anywhere_is_found_by_a_checksum_or_changes_nothing_read(tmp_path: Path):
    path = saved(tmp_path / "x.pt", {"a": torch.arange(300.0)})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = whole.index(archive.read("x/data/0"))
    for place in range(at, at + 1200, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert "is damaged: the checksum of x/data/0 is wrong" in refusal(path)


def test_what_is_not_there_not_regular_or_too_large_is_refused(tmp_path: Path):
    assert "there is no checkpoint file" in refusal(tmp_path / "x.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    assert "is not a regular file" in refusal(tmp_path / "pipe.pt")
    with (tmp_path / "huge.pt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "a checkpoint has at most" in refusal(tmp_path / "huge.pt")
    assert regular_file(saved(tmp_path / "y.pt"), "y").st_size == (tmp_path / "y.pt").stat().st_size
    check_size(None, "unknown")
