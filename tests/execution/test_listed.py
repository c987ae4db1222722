"""Listed images: what the plan says of each, and which store it is in."""

from pipeline.execution.listed import Listed

ROW = {"image_id": ["a", "b"], "uri": ["/x/a", "s3://b/k"], "size_bytes": [10, 20], "version": ["1", ""]}


def test_a_unit_of_the_plan_has_parts_where_its_source_had():
    assert Listed.of_unit(ROW) == [Listed("a", "/x/a", 10, "1"), Listed("b", "s3://b/k", 20, "")]
    first, second = Listed.of_unit({**ROW, "part": ["bytes=3-7", "box=0,0,5,5"]})
    assert (first.span, first.is_windowed, first.is_local) == ((3, 7), False, True)
    assert (second.span, second.is_windowed, second.is_local) == ((0, None), True, False)
    assert Listed("c", "HTTPS://host/x", 0, "").is_on_the_web


def test_images_of_one_store_are_told_from_others_however_their_uris_are_spelled():
    spelled = {"/x/a": "file", "file:///x/b": "file", "S3A://b/k": "s3", "s3://b/other": "s3", "s3://c/k": "s3 of c"}
    stores = {uri: Listed("x", uri, 1, "").store for uri in spelled}
    assert stores["/x/a"] == stores["file:///x/b"]
    assert stores["S3A://b/k"] == stores["s3://b/other"]
    assert len(set(stores.values())) == 3
    assert Listed("x", "file:///x/b", 1, "").is_local
    assert Listed("x", "memory://x", 1, "").store is None
