"""Errors: the drawn tree is the real one, and every error arrives whole in another process."""

import pickle
import re

import pytest

from pipeline import errors
from pipeline.errors import ConfigError, FeatureSetError, ImageError, ImageNotFoundError, PipelineError

DRAWN = re.compile(r"^(?P<rails>[│ ]*)[├└]── (?P<name>\w+) +(?P<code>\d+|--) ", re.MULTILINE)
LEAVES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PipelineError)]


def drawn_tree() -> dict[str, tuple[str, str]]:
    """Per error its parent and its exit code, as the module's docstring draws them."""
    found = list(DRAWN.finditer(errors.__doc__ or ""))
    parents = ["PipelineError"]
    tree = {}
    for line in found:
        depth = len(line["rails"]) // 4
        tree[line["name"]] = (parents[depth], line["code"])
        parents[depth + 1 :] = [line["name"]]
    return tree


def test_the_drawn_tree_names_every_error():
    assert set(drawn_tree()) == {kind.__name__ for kind in LEAVES} - {"PipelineError"}


@pytest.mark.parametrize("name", drawn_tree())
def test_the_drawn_tree_is_the_real_one(name: str):
    parent, code = drawn_tree()[name]
    kind = getattr(errors, name)
    assert kind.__bases__[0].__name__ == parent
    assert code in ("--", str(kind.exit_code))


def test_exit_codes_are_those_of_the_shell():
    codes = {kind.__name__: kind.exit_code for kind in LEAVES}
    assert codes["ConfigError"] == codes["CheckpointError"] == codes["SourceError"] == 64
    assert codes["SinkError"] == 73
    assert codes["RunIncompleteError"] == codes["StoreUnavailableError"] == codes["HeadLostError"] == 75
    assert codes["TooManyFailedError"] == 3
    assert codes["AccessDeniedError"] == 77
    assert codes["RunConflictError"] == 78
    assert codes["RunDrainedError"] == 143


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if kind is not ImageError])
def test_every_error_survives_the_way_between_processes(kind: type[PipelineError]):
    arrived = pickle.loads(pickle.dumps(kind("what happened, the value, what to do")))  # noqa: S301
    assert type(arrived) is kind
    assert str(arrived) == "what happened, the value, what to do"


def test_an_image_error_survives_the_way_between_processes_with_its_facts():
    error = ImageError("it ends early", stage="fetch", error_type="Timeout", error_class="transient")
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(arrived) is ImageError
    assert str(arrived) == "it ends early"
    assert (arrived.stage, arrived.error_type, arrived.error_class) == ("fetch", "Timeout", "transient")


def test_an_image_error_is_permanent_unless_said_otherwise():
    assert ImageError("x", stage="decode", error_type="NotAnImage").error_class == "permanent"


def test_a_missing_image_is_a_key_error_that_reads_as_a_sentence():
    with pytest.raises(KeyError) as caught:
        raise ImageNotFoundError("no image 'a.jpg'")
    assert str(caught.value) == "no image 'a.jpg'"  # KeyError alone would print it in quotes
    assert isinstance(caught.value, FeatureSetError)


def test_a_store_in_trouble_is_trouble_to_whoever_waits_for_connections():
    assert issubclass(errors.StoreUnavailableError, ConnectionError)


def test_a_bad_source_or_checkpoint_is_a_bad_configuration():
    assert issubclass(errors.SourceError, ConfigError)
    assert issubclass(errors.CheckpointError, ConfigError)


def test_a_message_takes_in_no_secret_and_a_name_in_it_begins_no_line():
    error = FeatureSetError("no \n{level: ERROR}\x1b[2J at https://u:p@h/k?sig=abc", "what to do")
    assert str(error) == "no \\n{level: ERROR}\\x1b[2J at https://***@h/k?***\nwhat to do"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301
