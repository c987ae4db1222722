"""S3: of many who create a name one wins, and each is told truly, whatever becomes of requests and answers."""

import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import partial

import pytest

from pipeline.errors import AccessDeniedError, ConfigError, SinkError, StoreUnavailableError
from pipeline.storage.entry import FileEntry
from pipeline.storage.folder import Folder
from pipeline.storage.local import STAGING
from pipeline.storage.reading import read_uri
from pipeline.storage.trouble import CredentialsError
from tests.faults.barriers import Barrier
from tests.faults.faults import Answer, Cut, Duplicate, Fault, FlipBit, Late, Reset, Stall, Unconditional
from tests.faults.listings import RepeatPage, SmallPages
from tests.faults.proxied import SIGNATURE, ProxiedBucket
from tests.storage.odd_names import ODD_NAMES

PUT = "PutObject"
HARMS: dict[str, Callable[..., Fault]] = {
    "503": partial(Answer, 503),
    "500": partial(Answer, 500),
    "409": partial(Answer, 409),
    "reset": Reset,
    "timeout": Stall,
}
# What becomes of the first PUT, and how many PUTs a create takes then: one per try, for nobody below us repeats it.
FIRST_PUTS: dict[str, tuple[Callable[..., Fault], int]] = {
    **{f"{harm} before": (partial(fault, place="before"), 2) for harm, fault in HARMS.items()},
    **{f"{harm} after": (partial(fault, place="after"), 1) for harm, fault in HARMS.items()},
    "reset after": (partial(Reset, place="after"), 2),  # but aiohttp, when a connection breaks
    "412 for nothing": (partial(Answer, 412, place="before"), 2),
    "412 for a lost answer": (partial(Answer, 412, place="after"), 1),
    "delivered twice, told 200": (partial(Duplicate, "first"), 1),
    "delivered twice, told 412": (partial(Duplicate, "second"), 1),
}


# moto knows no newlines.
NAMES = [*(name for name in ODD_NAMES if "\n" not in name), "a//b", "a&b<c>", "%", "+", "\U0001f600", "\uff5e"]


@pytest.fixture
def folder(store: ProxiedBucket) -> Folder:
    """A prefix of the bucket."""
    return Folder(f"s3://{store.bucket}/set", 30.0)


@pytest.fixture
def impatient(store: ProxiedBucket) -> Folder:
    """The same prefix for somebody who soon gives up."""
    return Folder(f"s3://{store.bucket}/set", 0.5)


def listed(folder: Folder) -> list[str]:
    return [entry.name for entry in folder.files()]


# Creating


def test_create_says_whether_it_created(folder: Folder, store: ProxiedBucket):
    assert folder.create("runs/1", b"first") is True
    assert folder.create("runs/1", b"second") is False
    assert store.body("set/runs/1") == b"first"
    assert [seen.conditional for seen in store.proxy.seen(PUT)] == [True, True]


def test_what_is_derived_can_be_replaced(folder: Folder, store: ProxiedBucket):
    folder.replace("README.md", b"first")
    folder.replace("README.md", b"second")
    assert store.body("set/README.md") == b"second"


@pytest.mark.parametrize("wrong", [wrong for wrong in FIRST_PUTS if "412" not in wrong])
def test_a_replacement_is_there_in_the_end_whatever_becomes_of_its_request(
    wrong: str, folder: Folder, store: ProxiedBucket
):
    folder.replace("README.md", b"first")
    fault, _ = FIRST_PUTS[wrong]
    store.proxy.install(fault(operation=PUT, first=1))
    folder.replace("README.md", b"second")
    assert store.body("set/README.md") == b"second"


@pytest.mark.parametrize("wrong", FIRST_PUTS)
def test_a_create_is_told_truly_whatever_becomes_of_its_request(wrong: str, folder: Folder, store: ProxiedBucket):
    fault, num_puts = FIRST_PUTS[wrong]
    store.proxy.install(fault(operation=PUT, first=1))
    assert folder.create("k", b"mine") is True
    assert store.body("set/k") == b"mine"
    assert len(store.proxy.seen(PUT)) == num_puts


@pytest.mark.parametrize("wrong", FIRST_PUTS)
def test_a_create_is_told_truly_where_somebody_else_was_first(wrong: str, folder: Folder, store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="set/k", Body=b"theirs")
    store.proxy.install(FIRST_PUTS[wrong][0](operation=PUT, first=1))
    assert folder.create("k", b"mine") is False
    assert store.body("set/k") == b"theirs"


@pytest.mark.parametrize("harm", ["503", "reset"])
def test_somebody_who_came_between_two_tries_has_won(harm: str, folder: Folder, store: ProxiedBucket):
    store.proxy.install(HARMS[harm](operation=PUT, first=1))
    second = store.proxy.install(Barrier(operation=PUT, at=2))
    with ThreadPoolExecutor(1) as pool:
        create = pool.submit(folder.create, "k", b"mine")
        second.wait_held()
        store.direct.put_object(Bucket=store.bucket, Key="set/k", Body=b"theirs")
        second.release()
        assert create.result(30) is False
    assert store.body("set/k") == b"theirs"


def test_several_faults_in_a_row_are_waited_out(folder: Folder, store: ProxiedBucket):
    for number, (harm, place) in enumerate([("503", "before"), ("reset", "before"), ("409", "after")], start=1):
        store.proxy.install(HARMS[harm](operation=PUT, at=number, place=place))
    store.proxy.install(Answer(503, operation="GetObject", first=2))
    assert folder.create("k", b"mine") is True
    assert store.body("set/k") == b"mine"


@pytest.mark.parametrize("harm", ["503", "500", "reset"])
def test_where_reading_back_fails_too_nobody_knows_until_the_next_try(
    harm: str, impatient: Folder, store: ProxiedBucket
):
    store.proxy.install(Reset(operation=PUT, place="after"))
    store.proxy.install(HARMS[harm](operation="GetObject"))
    with pytest.raises(StoreUnavailableError, match=rf"^{impatient.uri}/k could not be reached for 0 s .*try again"):
        impatient.create("k", b"mine")
    assert store.body("set/k") == b"mine"
    store.proxy.clear()
    assert impatient.create("k", b"mine") is True, "the write was done all along"
    assert impatient.create("k", b"theirs") is False


def test_a_store_that_is_in_trouble_for_ever_is_given_up(impatient: Folder, store: ProxiedBucket):
    store.proxy.install(Answer(503, operation=PUT))
    with pytest.raises(StoreUnavailableError, match="SlowDown") as end:
        impatient.create("k", b"mine")
    assert end.value.exit_code == 75
    assert store.keys() == []


@pytest.mark.parametrize("status", [503, 0])
def test_a_put_that_arrives_late_finds_its_own_second_try(status: int, folder: Folder, store: ProxiedBucket):
    late = store.proxy.install(Late(1.0, status, operation=PUT, first=1))
    assert folder.create("k", b"mine") is True
    assert late.wait() == [412]
    assert store.body("set/k") == b"mine"


def test_a_put_that_arrives_late_but_before_its_second_try(folder: Folder, store: ProxiedBucket):
    late = store.proxy.install(Late(0.2, operation=PUT, first=1))
    second = store.proxy.install(Barrier(operation=PUT, at=2))
    with ThreadPoolExecutor(1) as pool:
        create = pool.submit(folder.create, "k", b"mine")
        second.wait_held()
        assert late.wait() == [200]
        second.release()
        assert create.result(30) is True
    assert [seen.stored for seen in store.proxy.seen(PUT)] == [[200], [412]]


def test_a_put_that_arrives_after_its_sender_gave_up_is_still_the_senders(impatient: Folder, store: ProxiedBucket):
    late = store.proxy.install(Late(4.0, operation=PUT))
    with pytest.raises(StoreUnavailableError):
        impatient.create("k", b"mine")
    assert store.keys() == []
    store.proxy.clear()
    assert late.wait() == [200, *[412] * (late.fired - 1)]
    assert impatient.create("k", b"theirs") is False
    assert impatient.create("k", b"mine") is True


@pytest.mark.parametrize("wrong", ["503 after", "reset after", "409 before", "delivered twice, told 412"])
def test_of_two_writers_at_the_same_moment_exactly_one_creates(wrong: str, folder: Folder, store: ProxiedBucket):
    for name in map(str, range(5)):
        barrier = store.proxy.install(Barrier(2, operation=PUT, first=2))
        fault = store.proxy.install(FIRST_PUTS[wrong][0](operation=PUT, first=1))
        with ThreadPoolExecutor(2) as pool:
            creates = [pool.submit(folder.create, name, me.encode() * 1000) for me in "ab"]
        told = {me: create.result() for me, create in zip("ab", creates, strict=True)}
        assert (barrier.timed_out, fault.fired) == (0, 1), store.proxy
        assert sorted(told.values()) == [False, True], told
        (winner,) = (me for me, is_winner in told.items() if is_winner)
        assert store.body(f"set/{name}") == winner.encode() * 1000
        store.proxy.clear()


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_created_read_back_listed_and_deleted(name: str, folder: Folder, store: ProxiedBucket):
    place = f"{name}/{name}"
    assert folder.create(place, name.encode())
    assert store.keys() == [f"set/{place}"]
    assert folder.read(place) == name.encode()
    assert folder.size_bytes(place) == len(name.encode())
    with folder.open(place) as stream:
        assert stream.read() == name.encode()
    (entry,) = folder.files()
    assert entry.name == place
    assert folder.entry(place) == entry
    assert read_uri(folder.uri_of(place), entry.version) == name.encode()
    folder.delete(place)
    assert store.keys() == []


# Writing


def test_a_small_file_is_one_request_and_appears_whole(folder: Folder, store: ProxiedBucket):
    with folder.writer("shards/1") as stream:
        stream.write(b"first, ")
        stream.write(b"second")
        assert store.keys() == []
    assert store.body("set/shards/1") == b"first, second"
    assert [seen.operation for seen in store.proxy.requests if seen.mutating] == [PUT]


def test_an_error_while_writing_leaves_nothing(folder: Folder, store: ProxiedBucket):
    def fail_in_the_middle() -> None:
        with folder.writer("shards/1") as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert store.keys() == []


def test_a_writer_whose_name_was_taken_meanwhile_changes_nothing(folder: Folder, store: ProxiedBucket):
    def come_second() -> None:
        with folder.writer("commit") as stream:
            stream.write(b"mine")
            assert folder.create("commit", b"theirs")

    with pytest.raises(FileExistsError):
        come_second()
    assert store.body("set/commit") == b"theirs"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(403, "AccessDenied", AccessDeniedError), (400, "InvalidArgument", SinkError), (404, "NoSuchBucket", SinkError)],
)
def test_a_store_that_refuses_to_be_written_is_told_by_kind(
    status: int, code: str, error: type[Exception], folder: Folder, store: ProxiedBucket
):
    store.proxy.install(Answer(status, code, mutating=True))
    for write in (lambda: folder.create("k", b""), lambda: folder.delete("k"), folder.require_writable):
        with pytest.raises(error, match=store.bucket):
            write()


def test_a_bucket_with_conditional_writes_is_writable(folder: Folder, store: ProxiedBucket):
    for _ in range(2):
        folder.require_writable()
    assert store.keys() == [f"set/{STAGING}/conditional-write-probe"]
    assert listed(Folder(f"s3://{store.bucket}/set/runs")) == []


@pytest.mark.parametrize("is_first", [True, False])
def test_a_store_that_ignores_the_condition_is_refused(is_first: bool, folder: Folder, store: ProxiedBucket):
    if not is_first:
        folder.require_writable()
    store.proxy.install(Unconditional(operation=PUT))
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        folder.require_writable()


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize(("harm", "place"), [("503", "before"), ("reset", "before"), ("reset", "after")])
def test_looking_whether_a_bucket_is_writable_waits_trouble_out(
    at: int, harm: str, place: str, folder: Folder, store: ProxiedBucket
):
    fault = store.proxy.install(HARMS[harm](operation=PUT, at=at, place=place))
    folder.require_writable()
    assert fault.fired == 1


def test_a_bucket_that_is_not_there_is_a_sink_error(store: ProxiedBucket):
    with pytest.raises(SinkError, match=f"cannot write below s3://{store.bucket}-of-nobody/set"):
        Folder(f"s3://{store.bucket}-of-nobody/set", 30.0).require_writable()


def test_deleting_what_is_gone_is_no_error(folder: Folder, store: ProxiedBucket):
    folder.create("a", b"")
    store.proxy.install(Reset(operation="DeleteObject", first=1, place="after"))
    for _ in range(2):
        folder.delete("a")
    assert store.keys() == []


def test_unfinished_uploads_below_the_prefix_are_listed_and_aborted(folder: Folder, store: ProxiedBucket):
    for key in ("set/b", "set/a b", "set-of-somebody-else/a"):
        store.direct.create_multipart_upload(Bucket=store.bucket, Key=key)
    store.proxy.install(Answer(503, first=1))
    found = sorted(folder.unfinished_uploads(), key=lambda upload: upload.name)  # moto has no order
    assert [upload.name for upload in found] == ["a b", "b"]
    assert all(upload.begun_s > 0 for upload in found), found
    for upload in [*found, *found]:
        folder.abort_upload(upload)
    assert list(folder.unfinished_uploads()) == []
    assert [upload.name for upload in Folder(f"s3://{store.bucket}").unfinished_uploads()] == ["set-of-somebody-else/a"]


def test_the_time_is_the_stores_own(folder: Folder, store: ProxiedBucket):
    now_s = folder.now_s()
    answer = store.direct.list_objects_v2(Bucket=store.bucket)["ResponseMetadata"]
    assert 0 <= parsedate_to_datetime(answer["HTTPHeaders"]["date"]).timestamp() - now_s < 60
    assert store.keys() == []


# Listing


def put_many(store: ProxiedBucket, keys: list[str]) -> None:
    """Puts empty objects straight into the store, a thousand in two seconds."""
    connection = http.client.HTTPConnection(store.direct.meta.endpoint_url.removeprefix("http://"))
    for key in keys:
        connection.request("PUT", f"/{store.bucket}/{key}", b"", {"Authorization": SIGNATURE})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()


def delete_many(store: ProxiedBucket, keys: list[str]) -> None:
    for start in range(0, len(keys), 1000):
        objects = [{"Key": key} for key in keys[start : start + 1000]]
        store.direct.delete_objects(Bucket=store.bucket, Delete={"Objects": objects})


def test_thousands_of_keys_are_listed_in_order_each_once_page_by_page(folder: Folder, store: ProxiedBucket):
    plain = [f"{number * 7919 % 2500:05d}" for number in range(2500)]
    odd = [*NAMES, "00001/deep", "00001.jpg"]
    hidden = [".hidden", "00002/.hidden", ".git/config", "folder/"]
    put_many(store, [f"set/{name}" for name in plain])
    for name in [*odd, *hidden]:
        store.direct.put_object(Bucket=store.bucket, Key=f"set/{name}", Body=name.encode())
    store.direct.put_object(Bucket=store.bucket, Key="set-of-somebody-else/a", Body=b"")
    expected = sorted([*plain, *odd], key=str.encode)
    assert listed(folder) == expected
    assert len(store.proxy.seen("ListObjectsV2")) == 3
    assert listed(folder) == expected, "the same every time"
    assert set(folder.names("")) == {name.partition("/")[0] for name in [*plain, *odd, *hidden]}
    delete_many(store, [f"set/{name}" for name in plain])


def test_an_entry_tells_size_time_and_a_version_that_changes_with_the_object(folder: Folder, store: ProxiedBucket):
    versions = set()
    for data in (b"123", b"321"):
        store.direct.put_object(Bucket=store.bucket, Key="set/a", Body=data)
        (entry,) = folder.files()
        about = store.direct.head_object(Bucket=store.bucket, Key="set/a")
        assert entry == FileEntry("a", 3, about["ETag"].strip('"'), about["LastModified"].timestamp())
        versions.add(entry.version)
    assert len(versions) == 2


@pytest.fixture
def five(store: ProxiedBucket) -> list[str]:
    """Five objects and what they are called, listed in pages of two."""
    names = ["a 0", "b/1", "b/2", "c+3", "d"]
    for name in names:
        store.direct.put_object(Bucket=store.bucket, Key=f"set/{name}", Body=name.encode())
    store.proxy.install(SmallPages(2))
    return names


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("harm", ["503", "reset"])
def test_trouble_with_a_page_is_waited_out(at: int, harm: str, five: list[str], folder: Folder, store: ProxiedBucket):
    fault = store.proxy.install(HARMS[harm](operation="ListObjectsV2", at=at))
    assert listed(folder) == five
    assert fault.fired == 1


@pytest.mark.parametrize("same_token", [True, False])
@pytest.mark.parametrize("at", [1, 2])
def test_a_page_that_comes_twice_is_an_error_not_images_twice(
    same_token: bool, at: int, five: list[str], folder: Folder, store: ProxiedBucket
):
    store.proxy.install(RepeatPage(same_token, at=at))
    with pytest.raises(StoreUnavailableError, match=f"the listing gave set/{five[at * 2 - 2]} twice"):
        listed(folder)


def test_a_listing_begins_before_all_of_it_was_asked_for(five: list[str], folder: Folder, store: ProxiedBucket):
    entries = folder.files()
    assert next(entries).name == five[0]
    assert len(store.proxy.seen("ListObjectsV2")) == 1
    assert [entry.name for entry in entries] == five[1:]


def test_names_are_those_directly_in_a_folder(five: list[str], folder: Folder, store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="set/b/.hidden", Body=b"")
    store.direct.put_object(Bucket=store.bucket, Key="set/b/", Body=b"")
    assert sorted(folder.names("")) == ["a 0", "b", "c+3", "d"]
    assert sorted(folder.names("b")) == [".hidden", "1", "2"]
    assert list(folder.names("nothing")) == []
    assert five[0] in Folder(f"s3://{store.bucket}").uri_of(five[0])


def test_a_prefix_is_a_folder_where_there_is_anything_below_it(folder: Folder, store: ProxiedBucket):
    assert not folder.is_folder()
    store.direct.put_object(Bucket=store.bucket, Key="settings", Body=b"")
    assert not folder.is_folder()
    store.direct.put_object(Bucket=store.bucket, Key="set/deep/a", Body=b"")
    assert folder.is_folder()
    assert Folder(f"s3://{store.bucket}").is_folder()
    assert listed(Folder(f"s3a://{store.bucket}/")) == ["set/deep/a", "settings"]


# Reading

READS: dict[str, Callable[[Folder], object]] = {
    "read": lambda folder: folder.read("a"),
    "open": lambda folder: folder.open("a").read(),
    "size_bytes": lambda folder: folder.size_bytes("a"),
    "is_folder": lambda folder: folder.is_folder(),
    "files": listed,
    "names": lambda folder: sorted(folder.names("")),
}


def test_what_is_not_there_is_told_apart(folder: Folder):
    for ask in (folder.read, folder.open, folder.size_bytes, folder.entry):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


@pytest.mark.parametrize("share", [0, 0.9])
@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("verb", ["read", "open"])
def test_a_body_that_was_cut_short_is_read_again(
    share: float, ending: str, verb: str, folder: Folder, store: ProxiedBucket
):
    folder.create("a", bytes(range(256)) * 40)
    cut = store.proxy.install(Cut(share, ending, operation="GetObject", first=2))
    assert READS[verb](folder) == bytes(range(256)) * 40
    assert cut.fired == 2


def test_a_bit_that_flipped_on_the_way_is_noticed_and_read_again(folder: Folder, store: ProxiedBucket):
    folder.create("a", bytes(range(256)))
    flip = store.proxy.install(FlipBit(operation="GetObject", first=1))
    assert folder.read("a") == bytes(range(256))
    assert flip.fired == 1


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("harm", ["503", "reset"])
def test_trouble_while_reading_is_waited_out(verb: str, harm: str, folder: Folder, store: ProxiedBucket):
    folder.create("a", b"123")
    expected = READS[verb](folder)
    fault = store.proxy.install(HARMS[harm](mutating=False, first=4))
    assert READS[verb](folder) == expected
    assert fault.fired == 4


@pytest.mark.parametrize("verb", [*READS, "delete", "writer"])
def test_a_store_that_stays_in_trouble_is_given_up_by_every_verb(verb: str, impatient: Folder, store: ProxiedBucket):
    impatient.create("a", b"123")
    store.proxy.install(Reset())
    verbs = {**READS, "delete": lambda folder: folder.delete("a"), "writer": write}
    with pytest.raises(StoreUnavailableError, match=f"^{impatient.uri}.* could not be reached for 0 s"):
        verbs[verb](impatient)


def write(folder: Folder) -> None:
    with folder.writer("shard") as stream:
        stream.write(b"123")


@pytest.mark.parametrize("verb", READS)
def test_a_refusal_is_no_trouble_and_not_tried_again(verb: str, folder: Folder, store: ProxiedBucket):
    folder.create("a", b"123")
    store.proxy.install(Answer(403, mutating=False))
    store.proxy.forget()
    with pytest.raises(PermissionError):
        READS[verb](folder)
    assert len(store.proxy.requests) == 1


@pytest.mark.parametrize("verb", ["read", "files", "names"])
def test_credentials_that_are_refused_are_told_apart(verb: str, folder: Folder, store: ProxiedBucket):
    store.proxy.install(Answer(403, "ExpiredToken", mutating=False))
    with pytest.raises(CredentialsError, match="ExpiredToken"):
        READS[verb](folder)
