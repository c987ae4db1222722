"""Asking a decoder process about files: what it says comes back, and trouble is told apart from damage."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.execution.fetch import DecodeLimits
from pipeline.execution.probing import Prober
from pipeline.sources.files import SourceFiles
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket


def ref(place: Path | str) -> dict:
    (file,) = SourceFiles(str(place), (".parquet",), 1.0)
    return {"image_id": file.name, "uri": file.uri, "size_bytes": file.size_bytes, "version": file.version}


def test_what_a_file_holds_and_what_is_wrong_with_it_comes_back(tmp_path: Path, store: ProxiedBucket):
    prober = Prober(limits=DecodeLimits(), patience_s=0.1)
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": [1, 2]}), tmp_path / "a.parquet")
    expected = {"groups": [2], "columns": {"label": "integer"}, "images": ["image"]}
    assert prober.ask(ref(tmp_path / "a.parquet"), "parquet {}") == expected

    data = (tmp_path / "a.parquet").read_bytes()
    store.direct.put_object(Bucket=store.bucket, Key="a.parquet", Body=data)
    listed = ref(f"s3://{store.bucket}/a.parquet")
    assert prober.ask(listed, "parquet {}") == expected
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        prober.ask({**listed, "uri": f"{listed['uri']}x"}, "parquet {}")
    store.proxy.clear()

    (tmp_path / "b.parquet").write_bytes(data[:50])
    with pytest.raises(ImageError, match="it cannot be opened as Parquet"):
        prober.ask(ref(tmp_path / "b.parquet"), "parquet {}")
    (tmp_path / "c.parquet").write_bytes(data)
    changed = ref(tmp_path / "c.parquet")
    (tmp_path / "c.parquet").write_bytes(data + data)
    with pytest.raises(ImageError) as caught:
        prober.ask(changed, "parquet {}")
    assert caught.value.error_type == "ImageChanged"
