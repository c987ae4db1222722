"""50,000 spoiled images of eight formats: no job ends, no image takes more than 5 s, and each has its reason.

`make fuzz` takes a million, and another seed each time.
"""

import random
import sys
from pathlib import Path

import pytest

from pipeline.preprocessing.decode import decode
from tests.fuzz.campaign import Account, image, run, table
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import FORMATS, seeds

SEED = 20251125
NUM_IMAGES = 50_000 // len(FORMATS)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_spoiled_image_is_decoded_or_refused_for_a_reason(kind: str, tmp_path: Path):
    account = run(kind, SEED, range(NUM_IMAGES), keep=tmp_path)
    sys.stdout.write(f"seed {SEED}\n{table([account])}\n")
    assert account.num_faults == 0, f"seed {SEED}, bytes in {tmp_path}: {account.found}"
    assert account.outcomes["DecodeTimeout"] == 0, f"seed {SEED}, bytes in {tmp_path}: {account.found}"
    # A lost decoder costs one image and no job; with these seeds and the pinned codecs there is none.
    assert account.found == {}, f"seed {SEED}, bytes in {tmp_path}"
    assert account.is_complete, account.outcomes
    assert account.num_images == NUM_IMAGES
    assert NUM_IMAGES * 0.1 < account.outcomes["decoded"] < NUM_IMAGES * 0.8, "mutations that spoil all, or nothing"


@pytest.mark.parametrize("kind", FORMATS)
def test_what_it_begins_with_is_good_and_what_it_makes_of_it_can_be_made_again(kind: str):
    for original in seeds(kind):
        assert decode(original).shape[2] == 3
    assert [image(kind, 1, number) for number in range(20)] == [image(kind, 1, number) for number in range(20)]
    assert len({image(kind, 1, number) for number in range(200)}) > 150
    assert image(kind, 1, 3) != image(kind, 2, 3)


def test_checksums_of_a_spoiled_png_are_mostly_good():
    """Or Pillow would refuse nearly all of them for that alone."""
    spoiled = [mutated([seeds("PNG")[1]], random.Random(number)) for number in range(300)]
    assert sum(b"IHDR" in data for data in spoiled) > 200


def test_an_account_that_does_not_add_up_is_not_complete():
    account = Account("PNG", num_images=2)
    account.outcomes["decoded"] += 1
    assert not account.is_complete
    account.outcomes["Whatever"] += 1
    assert not account.is_complete
    other = Account("PNG", num_images=1)
    other.outcomes["EmptyFile"] += 1
    del account.outcomes["Whatever"]
    account.num_images = 1
    account.add(other)
    assert account.is_complete
    assert "EmptyFile                  1" in table([account])
