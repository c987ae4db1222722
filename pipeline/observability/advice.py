"""What the causes of an encoder's time mean, and which setting to change for the largest that is not computing."""

from collections.abc import Mapping

from pipeline.observability.amounts import counted

MEANINGS = {
    "compute": "forward passes",
    "audit": "embedding images again in fp32 (run.audit_images)",
    "copy": "pixels to the device, features from it, in the stored dtype",
    "upload": "waiting for the store or disk that features go to",
    "serialise": "making Parquet of features, while nothing was computed",
    "commit": "looking up and writing commits",
    "start": "starting encoders and loading weights",
    "fetch": "waiting for bytes of images",
    "decode": "waiting for images to be decoded and resized",
    "wait": "waiting for a unit that was ready, on its way through Ray",
    "end": "idle after the last unit of this encoder",
}
ADVICE = {
    "compute": "the encoders set the pace: add GPUs (execution.num_encoders), or take execution.precision=bf16, a "
    "smaller model, or a smaller preprocess.side_px",
    "audit": "audit fewer images: run.audit_images",
    "copy": "larger batches: execution.images_per_batch; or fewer and smaller features: features=, storage_dtype=",
    "upload": "fewer bytes: features=decoder or embed, features.storage_dtype=int8; or more nodes",
    "serialise": "fewer bytes: features=decoder or embed, features.storage_dtype=int8; or more CPUs",
    "commit": "larger units: execution.images_per_unit",
    "start": "nothing to change unless runs are short: embed more images a run",
    "fetch": "more CPUs for fetching (CPU nodes join in), or images nearer to the cluster",
    "decode": "more CPUs for decoding (CPU nodes join in), or smaller images",
    "wait": "larger units: execution.images_per_unit; or fewer encoders a node",
    "end": "smaller units, so that encoders end together: execution.images_per_unit",
}
# What is left of an encoder's time is not worth a word below this.
_LITTLE = 0.02


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Shares of the whole by cause, 0 to 1, in the order given."""
    whole = sum(seconds.values()) or 1.0
    return {cause: value / whole for cause, value in seconds.items()}


def advice(seconds: Mapping[str, float]) -> str:
    """What to change first: for the largest cause other than computing, unless computing is nearly all there is."""
    parts = shares(seconds)
    others = {cause: share for cause, share in parts.items() if cause != "compute"}
    first = max(others, key=lambda cause: others[cause], default="compute")
    cause = first if others.get(first, 0.0) > max(_LITTLE, 0.2 * parts.get("compute", 0.0)) else "compute"
    return f"{cause} ({MEANINGS[cause]}) takes {parts.get(cause, 0.0):.0%}: {ADVICE[cause]}"


def account_line(seconds: Mapping[str, float], num_encoders: int) -> str:
    """The account in one line, greatest first."""
    parts = [f"{cause} {share:.0%}" for cause, share in shares(seconds).items() if share >= _LITTLE / 2]
    each = sum(seconds.values()) / max(num_encoders, 1)
    return f"{', '.join(parts)} of {each:.1f} s, {counted(num_encoders, 'encoder')}"
