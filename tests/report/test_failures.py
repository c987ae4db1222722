"""Quarantine by reason: counted, a few examples each, redacted, and nothing dangerous is opened again."""

import pyarrow as pa

from pipeline.featureset.schema import QUARANTINE
from pipeline.report.failures import reasons


def table(*rows: tuple[str, str, str], stage: str = "decode") -> pa.Table:
    """Rows of (id, error type, message)."""
    return pa.Table.from_pylist(
        [
            {
                "image_id": image_id,
                "uri": f"s3://b/{image_id}",
                "stage": stage,
                "error_class": "permanent",
                "error_type": error_type,
                "message": message,
            }
            for image_id, error_type, message in rows
        ],
        schema=QUARANTINE,
    )


def test_reasons_are_counted_and_have_some_examples():
    rows = [(f"{number}.jpg", "TruncatedImage", "cut off") for number in range(9)]
    found = reasons(table(("x.jpg", "EmptyFile", "0 bytes"), *rows))
    assert [(each["error_type"], each["count"], len(each["examples"])) for each in found] == [
        ("TruncatedImage", 9, 6),
        ("EmptyFile", 1, 1),
    ]
    assert found[0]["examples"][0]["uri"] == "s3://b/0.jpg"
    assert reasons(table()) == []


def test_texts_are_redacted_and_control_characters_spelled():
    (found,) = reasons(table(("a\u202eb\n.jpg", "X", "GET https://h/x?sig=hunter2hunter2 failed")))
    (example,) = found["examples"]
    assert example["image_id"] == "a\\u202eb\\n.jpg"
    assert "hunter2" not in example["message"]


def test_what_crashed_a_decoder_is_not_tried_again():
    kinds = ("DecoderCrashed", "DecodeTimeout", "DecodeMemory", "TruncatedImage")
    told = reasons(table(*((kind, kind, "") for kind in kinds)))
    found = {each["error_type"]: each["examples"][0]["is_tried"] for each in told}
    assert found == {"DecoderCrashed": False, "DecodeTimeout": False, "DecodeMemory": False, "TruncatedImage": True}


def test_what_a_run_did_not_fetch_no_report_reads():
    kinds = ("UriNotAllowed", "FileNotFoundError")
    for reason in reasons(table(*((kind, kind, "") for kind in kinds), stage="fetch")):
        assert [example["is_tried"] for example in reason["examples"]] == [False], reason
