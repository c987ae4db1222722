"""Names and paths that mean something to a shell, a log, a terminal or a page: taken or refused, and shown spelled."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.errors import ConfigError, TooManyFailedError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.exports.card import card
from pipeline.exports.facts import Facts
from pipeline.observability.failures import Failures
from pipeline.sources.directory import DirectorySource
from tests.damaging import shard_of
from tests.small_set import SmallSet, flip_byte

REPOSITORY = Path(__file__).resolve().parents[2]
FORGING = '\n{"level":"ERROR"}\r\x1b[2J<script>\u202egpj.jpg'
SPELLED = '\\n{"level":"ERROR"}\\r\\x1b[2J<script>\\u202egpj.jpg'
SHELL = "; touch pwned; $(touch pwned) `touch pwned`"


def is_plain(text: str) -> bool:
    """Whether a terminal prints every character, line ends aside."""
    return text.replace("\n", "").isprintable()


def test_a_file_with_a_forging_name_costs_itself_alone_and_its_failure_is_one_line(make_photos, tmp_path):
    folder = tmp_path / "photos"
    (good,) = make_photos(folder, 1)
    (folder / f"bad{FORGING}").write_bytes((folder / good).read_bytes())
    (plan,) = cut_units(DirectorySource(str(folder)).refs(), 2)
    unit = DecodedUnit.from_block(FetchAndDecode(side_px=64, sink_uri=str(tmp_path / "set"), run=1)(plan))
    (row,) = unit.quarantine
    assert [image.image_id for image in unit.images] == [good]
    assert (row.image_id, row.error_type) == (f"bad{FORGING}", "BadKey")
    failures = Failures()
    failures.add({row.error_type: 1}, 2, f"{row.image_id}: {row.message}")
    with pytest.raises(TooManyFailedError) as caught:
        failures.check(2, 0.0)
    assert f"for example bad{SPELLED}: " in str(caught.value)
    assert is_plain(str(caught.value))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("odd", ["a\nb", "a\x1b[2Jb", "a\u202eb"])
def test_a_feature_set_is_not_kept_where_its_name_would_forge_what_is_printed(odd, tmp_path):
    with pytest.raises(ConfigError, match="holds characters that cannot be shown") as caught:
        SmallSet(tmp_path / odd)
    assert is_plain(str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_and_a_shell_get_nothing_to_do_from_names_and_paths(tmp_path):
    place = tmp_path / SHELL
    small = SmallSet(place)
    small.embed([[FORGING, "b"], ["c"]])
    shard = Path(small.uri) / shard_of(small, 1, 0).name
    map_of_first = pq.read_metadata(shard).row_group(0).column(5)
    flip_byte(shard, map_of_first.data_page_offset + map_of_first.total_compressed_size // 2)
    command = [sys.executable, str(REPOSITORY / "jobs/verify.py"), f"sink.uri={place}", "level=full"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 65, done.stdout + done.stderr
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    assert done.stdout.startswith(f"{place}, level full\n")
    assert SPELLED in done.stdout, "the image that was hit is named"
    assert list(tmp_path.iterdir()) == [place], "the path was taken as it is"


def test_a_card_is_no_page_of_somebody_else(tmp_path):
    small = SmallSet(tmp_path / "<script>alert(1)<" / "a # b<script>")
    small.embed([["a"]])
    text = card(Facts.of(small.root, "other"))
    assert "# SAM 2 features: a # b&lt;script&gt;\n" in text
    _, _, body = text.split("---\n", 2)
    assert "<script>" not in body.partition("```python")[0]


def test_names_that_other_systems_take_for_one_are_rows_of_their_own(tmp_path):
    accent = "caf\u00e9.jpg"
    long = "x" * 240
    ids = [*(unicodedata.normalize(form, accent) for form in ("NFC", "NFD")), "A.jpg", "a.jpg", f"{long}1", f"{long}2"]
    ids += ["a/b.jpg", "a_b.jpg", "a%2Fb.jpg", "1", "01", " a.jpg", "a.jpg "]
    small = SmallSet(tmp_path / "set")
    small.embed([ids[:7], ids[7:]])
    features = pipeline.open_features(small.uri)
    assert features.image_ids == ids
    vectors = {features[image_id].pooled.numpy().tobytes() for image_id in ids}
    assert len(vectors) == len(ids)
