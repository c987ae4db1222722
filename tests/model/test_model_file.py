"""A model file is plain YAML within limits, judged before anything is constructed; published ones pass unchanged."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.errors import ConfigError
from pipeline.model.model_file import MAX_BYTES, MAX_INTERPOLATIONS, check_interpolations, read_model_file

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))
PUBLISHED = Path(__file__).parents[1] / "parity" / "sam2_hiera_t.yaml"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "model.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("path", [*SHIPPED, PUBLISHED], ids=lambda path: path.stem)
def test_the_data_of_a_file_comes_through_unchanged(path: Path):
    assert OmegaConf.create(read_model_file(path)) == OmegaConf.load(path)


def test_numbers_texts_and_interpolations_keep_their_kinds_and_headers_go(tmp_path: Path):
    text = "# @package hydra\na: 1e-6\nb: '1e-6'\nc: ${a}\nd: ???\ne: null\nf: 'null'\ng: &x [1, 2.0]\nh: *x\n1: yes\n"
    cleaned = read_model_file(write(tmp_path, text))
    expected = {"a": 1e-6, "b": "1e-6", "c": "${a}", "d": "???", "e": None, "f": "null", "g": [1, 2.0], "h": [1, 2.0]}
    assert OmegaConf.to_container(OmegaConf.create(cleaned)) == {**expected, 1: True}
    assert "#" not in cleaned
    assert "&" not in cleaned


def bomb(levels: int, copies: int = 9) -> str:
    lines = [f"b{level}: &b{level} [{', '.join([f'*b{level - 1}'] * copies)}]" for level in range(1, levels + 1)]
    return "\n".join(["b0: &b0 x", *lines])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(4), "more than 2000 nodes with its aliases written out"),
        (bomb(500), "more than 2000 nodes"),
        ("a: &a [*a]", "more than 2000 nodes"),
        ("a: " + "[" * 33 + "]" * 33, "more than 32 levels"),
        ("[" * (MAX_BYTES - 1), "more than 32 levels"),
        ("a: [" + "1," * 2000 + "]", "more than 2000 nodes"),
        ("a: " + "x" * MAX_BYTES, f"more than {MAX_BYTES} bytes"),
        ("a: *nothing", "more than 2000 nodes"),
        ("a: !!str 5", "the tag tag:yaml.org,2002:str, and tags are refused"),
        ("a: !x {b: 1}", "the tag !x"),
        ("!!map {a: 1}", "the tag tag:yaml.org,2002:map"),
        ("a: 1\na: 2", "found duplicate key a"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("- 1", "its root is a list"),
        ("a: \x00", "unacceptable character"),
        (b"\xff\xfe\xfa", "can't decode byte"),
        ("a: ${", "is not a model file"),
        ("defaults: [other]", "'defaults' at its root, which steers Hydra"),
        ("a: 1\nhydra: {searchpath: [x]}", "'hydra' at its root"),
        ("a: ${oc.env:HOME}", "calls a resolver"),
        ("a: [{'${oc.env:HOME}': 1}]", "calls a resolver"),
    ],
    ids=range(21),
)
def test_what_is_no_plain_model_file_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str):
    with pytest.raises(ConfigError) as caught:
        read_model_file(write(tmp_path, text))
    assert said in str(caught.value)
    assert str(tmp_path / "model.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_aliases_pass(tmp_path: Path):
    assert "b2" in read_model_file(write(tmp_path, bomb(2)))


def test_a_file_without_end_is_read_to_the_limit_alone():
    with pytest.raises(ConfigError, match="more than 65536 bytes"):
        read_model_file(Path("/dev/zero"))


def test_more_interpolations_than_a_model_needs_are_refused():
    check_interpolations({"a": ["${b}"] * MAX_INTERPOLATIONS}, "here")
    with pytest.raises(ConfigError, match="here has more than 16 interpolations"):
        check_interpolations({"a": ["${b}"] * (MAX_INTERPOLATIONS - 1), "c": "${d}${e}"}, "here")
