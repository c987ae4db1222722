"""The table of docs/scale.md, from one machine to a billion images, has what the arithmetic of the plan job gives."""

from pathlib import Path

from pipeline.featureset.records import FeatureSetRecord
from pipeline.forecast.rates import Rate, known_job, known_rate
from pipeline.forecast.reckoning import HOUR_S, Forecast, Means, Prices, Speeds, Work, forecast
from pipeline.forecast.volume import Volume, measured_volume
from pipeline.model.build import load_encoder_config
from pipeline.model.outputs import FeatureChoice, map_specs
from pipeline.observability.amounts import dollar_text, rate_text, size_text, time_text

PAGE = (Path(__file__).resolve().parents[2] / "docs/scale.md").read_text()
PRICES = Prices(storage_gb_month=0.023, put_1000=0.005, get_1000=0.0004, gpu_hour=1.01, cpu_hour=0.045)
# Nobody has measured a GPU: what the page says it takes one.
ON_GPU = Rate(0.05, 0, "assumed")
PLAN_BYTES_AN_IMAGE = 75
IN_BYTES_AN_IMAGE = 300_000


def volume(kind: str, num_images: int, images_per_unit: int) -> Volume:
    tree = load_encoder_config("sam2.1_hiera_tiny", ()).tree
    settings = {"weights": {"kind": "random", "seed": 0}, "encoder": tree}
    maps = map_specs(tree, 1024, FeatureChoice(kind))
    record = FeatureSetRecord(fingerprint="f" * 32, settings=settings, maps=maps, position_encodings=None)
    return measured_volume(
        record,
        [("0123/01234567.jpg", "s3://bucket/images/0123/01234567.jpg")],
        num_images=num_images,
        images_per_unit=images_per_unit,
        images_per_batch=8,
        plan_bytes=PLAN_BYTES_AN_IMAGE * num_images,
        is_new=True,
    )


def forecasts() -> list[Forecast]:
    """One machine with a disk, ten GPUs and a bucket, and a hundred GPUs."""
    one = known_rate("sam2.1_hiera_tiny", device="cpu", precision="bf16", side_px=1024)
    chosen = [
        (volume("fpn", 10_000, 9), Means("cpu", 1, num_cores=2, link_bytes_s=None), one),
        (volume("decoder", 10_000_000, 10), Means("cuda", 10, num_cores=None, link_bytes_s=25e9 / 8), ON_GPU),
        (volume("embed", 10**9, 10), Means("cuda", 100, num_cores=None, link_bytes_s=100e9 / 8), ON_GPU),
    ]
    found = []
    for each, means, rate in chosen:
        in_store = means.device == "cuda"
        work = Work(
            num_found=each.num_images,
            num_images=each.num_images,
            in_bytes=IN_BYTES_AN_IMAGE * each.num_images,
            num_audits=4,
            reads_remote=in_store,
            writes_remote=in_store,
        )
        found.append(forecast(each, work, means=means, speeds=Speeds(rate, known_job()), prices=PRICES))
    return found


def rows() -> list[str]:
    """The rows of the table, but for its head."""
    found = forecasts()
    rates = [0.428 * 2, ON_GPU.seconds_per_image, ON_GPU.seconds_per_image]
    values = {
        "bytes an image, B": [size_text(each.volume.image_bytes) for each in found],
        "written, N x B + beside": [size_text(each.volume.total_bytes) for each in found],
        "of that commits, plan, index": [size_text(each.volume.beside_bytes) for each in found],
        "units and shards, N / U": [f"{each.volume.num_units:,}" for each in found],
        "objects, 2 x units + 10": [f"{each.volume.num_objects:,}" for each in found],
        "requests that write; that read": [
            f"{each.num_puts:,}; {each.num_gets:,}" if each.num_puts else "none" for each in found
        ],
        "computing, N x E": [
            f"{each.volume.num_images * rate / HOUR_S:,.0f} {'core' if place == 0 else 'GPU'}-hours"
            for place, (each, rate) in enumerate(zip(found, rates, strict=True))
        ],
        "encoders at full speed write, encoders x B / E": [
            f"{size_text(each.volume.image_bytes / each.limits['encoders'])} a second" for each in found
        ],
        "images a second": [rate_text(1 / next(iter(each.limits.values()))) for each in found],
        "slowest": [each.bottleneck for each in found],
        "the whole run": [time_text(each.wall_s) for each in found],
        "dollars once: machines; requests": [
            f"{dollar_text(each.compute_dollars)}; {dollar_text(each.request_dollars)}" for each in found
        ],
        "dollars a month": [dollar_text(each.month_dollars) if each.month_dollars else "the disk's" for each in found],
    }
    return [f"| {name} | {' | '.join(map(str, row))} |" for name, row in values.items()]


def test_the_table_has_what_the_arithmetic_gives():
    expected = rows()
    missing = [row for row in expected if row not in PAGE]
    assert not missing, "\n".join(["docs/scale.md should have these rows:", *expected])
