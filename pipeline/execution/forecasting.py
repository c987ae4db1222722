"""The plan command: what an embed command would find, write, take and cost, from the same configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.config import ExecutionConfig, FeaturesConfig
from pipeline.errors import ConfigError
from pipeline.execution.cluster import open_cluster
from pipeline.execution.measuring import Measured, measure
from pipeline.execution.plan import images_per_unit
from pipeline.execution.resources import Node, Placement, place_encoders
from pipeline.execution.survey import Survey, survey
from pipeline.execution.task import Task, feature_choice
from pipeline.featureset import catalog
from pipeline.featureset.fingerprint import fingerprint
from pipeline.featureset.records import FeatureSetRecord
from pipeline.forecast.disk import Room
from pipeline.forecast.page import Page
from pipeline.forecast.rates import Rate, known_job, known_rate
from pipeline.forecast.reckoning import Means, Prices, Speeds, Work, forecast
from pipeline.forecast.volume import Volume, measured_volume
from pipeline.model.outputs import map_specs
from pipeline.plan_config import PlanConfig
from pipeline.redaction import shown

_GBIT_BYTES = 1e9 / 8


@dataclass(frozen=True)
class Plan:
    """What was found out."""

    page: Page

    @property
    def volume(self) -> Volume:
        """What the run would write."""
        return self.page.base.volume

    def text(self) -> str:
        """The lines to print."""
        return self.page.text()

    def require_room(self) -> None:
        """Refuses a run that does not fit.

        Raises:
            SinkError: its disk is too small.
        """
        if self.page.room is not None and self.volume.num_images:
            self.page.room.require(self.volume.total_bytes, self.volume.num_objects)


def plan(config: PlanConfig) -> Plan:
    """Looks what the embed command with this configuration would do; writes nothing into the feature set.

    Raises:
        ConfigError: the command is wrong, or its source is not there.
        RunConflictError: another run or other settings own the feature set.
    """
    task, execution = Task.of(config), config.execution
    with open_cluster(
        execution.ray_address, logs=execution.ray_logs, allow_unauthenticated=execution.allow_unauthenticated_ray
    ) as cluster:
        nodes = cluster.nodes_there()
    placement, are_here = placed(nodes, execution)
    settings = task.settings(config, placement.device)
    found = survey(task, settings, config, num_drawn=config.plan.measure_images or 0)
    measured = None
    if config.plan.measure_images and found.num_images:
        if not are_here:
            raise ConfigError(
                "plan.measure_images= measures the encoders that are here, and execution.* asks for others"
            )
        exactly = replace(config, execution=replace(execution, precision=settings["precision"]))
        refs = found.some(config.plan.measure_images)
        measured = measure(task, exactly, refs=refs, placement=placement, known=known_job())
    speeds = _speeds(config, task, placement=placement, precision=settings["precision"], measured=measured)
    cores = _num_cores(nodes, placement) if are_here else None
    means = Means(placement.device, placement.num_encoders, cores, _link(config, measured), are_here=are_here)
    return Plan(_page(config, task, found, settings=settings, speeds=speeds, means=means))


def placed(nodes: Sequence[Node], execution: ExecutionConfig) -> tuple[Placement, bool]:
    """The encoders of a run, and whether they are here: as many as are asked for and do not fit are elsewhere.

    Raises:
        ConfigError: none fits, and it is not said how many there will be.
    """
    try:
        return place_encoders(nodes, device=execution.device, num_encoders=execution.num_encoders), True
    except ConfigError as error:
        if execution.num_encoders is None:
            raise ConfigError(f"{error}; or say how many there will be: execution.num_encoders=") from None
    on_gpus = execution.device == "cuda" or (execution.device == "auto" and any(node.num_gpus for node in nodes))
    num_cores = max((node.num_cores for node in nodes), default=1)
    device, num_threads = ("cuda", 1) if on_gpus else ("cpu", num_cores)
    return Placement(device, execution.num_encoders, 1, int(on_gpus), num_threads), False


def _num_cores(nodes: Sequence[Node], placement: Placement) -> int:
    """Cores that encoders compute on, or that decode for GPUs."""
    if placement.device == "cpu":
        return placement.num_encoders * placement.num_threads
    return sum(node.num_cores for node in nodes)


def _link(config: PlanConfig, measured: Measured | None) -> float | None:
    """What the sink takes a second, in bytes."""
    if config.plan.link_gbit_s is not None:
        return config.plan.link_gbit_s * _GBIT_BYTES
    return None if measured is None else measured.write_bytes_s


def _speeds(
    config: PlanConfig, task: Task, *, placement: Placement, precision: str, measured: Measured | None
) -> Speeds:
    """What is known of encoders: as measured just now, as the command says, or as the table has it."""
    if measured is not None:
        return Speeds(measured.rate, measured.job)
    if config.plan.seconds_per_image is not None:
        num_cores = 0 if placement.device == "cuda" else placement.num_threads
        return Speeds(Rate(config.plan.seconds_per_image, num_cores, "as given"), known_job())
    if config.model.config is not None or config.model.overrides:
        return Speeds(None, known_job())
    rate = known_rate(config.model.name, device=placement.device, precision=precision, side_px=task.side_px)
    return Speeds(rate, known_job())


def _page(
    config: PlanConfig, task: Task, found: Survey, *, settings: dict[str, Any], speeds: Speeds, means: Means
) -> Page:
    standing = catalog.feature_set_record(task.root)
    record = standing or FeatureSetRecord(
        fingerprint=fingerprint(settings), settings=settings, maps=task.maps, position_encodings=None
    )
    volume = measured_volume(
        record,
        found.names or [("", "")],
        num_images=found.num_images,
        images_per_unit=found.images_per_unit,
        images_per_batch=config.execution.images_per_batch or (8 if means.device == "cuda" else 1),
        plan_bytes=found.plan_bytes,
        is_new=standing is None,
    )
    work = Work(
        num_found=found.num_found,
        num_images=found.num_images,
        in_bytes=found.in_bytes,
        num_unsized=found.num_unsized,
        num_ignored=task.source.num_ignored,
        num_audits=min(config.run.audit_images, found.num_images),
        listing_s=found.listing_s,
        run=found.run,
        reads_remote=found.is_remote,
        writes_remote=not task.root.is_local,
    )
    prices = Prices(**asdict(config.prices))
    changes = {"": (volume, means), **dict(_changes(config, task, volume, means=means))}
    forecasts = {
        change: forecast(each, work, means=with_means, speeds=speeds, prices=prices)
        for change, (each, with_means) in changes.items()
    }
    return Page(
        title=shown(f"plan of {config.source.uri or 'the sample'} -> {task.root.uri}; nothing was written there"),
        model=f"{config.model.name}, {settings['precision']}",
        choice=f"features={config.features.kind} in {', '.join(config.features.storage_dtype)}",
        maps=record.maps,
        pixel_bytes=3 * task.side_px**2 * 4,
        work=work,
        means=means,
        speeds=speeds,
        prices=prices,
        forecasts=forecasts,
        room=Room.of(task.root),
        asks_for_parts=task.asks_for_parts,
    )


def _changes(
    config: PlanConfig, task: Task, volume: Volume, *, means: Means
) -> Iterator[tuple[str, tuple[Volume, Means]]]:
    """What would be written and with what, with one thing changed, by the overrides that change it."""
    for override, features in _smaller(config.features).items():
        maps = map_specs(task.encoder.tree, task.side_px, feature_choice(features))
        size = config.execution.images_per_unit or images_per_unit(maps, task.side_px)
        yield override, (volume.storing(maps, size), means)
    cores = means.num_cores and 2 * means.num_cores
    twice = replace(means, num_encoders=2 * means.num_encoders, num_cores=cores)
    yield f"twice the machines (execution.num_encoders={twice.num_encoders})", (volume, twice)


def _smaller(features: FeaturesConfig) -> dict[str, FeaturesConfig]:
    """Choices of which masks can still be made, or vectors searched, in fewer bytes."""
    found = {}
    if features.kind == "fpn" and features.levels is None:
        found["features=decoder"] = replace(features, kind="decoder", storage_dtype=features.storage_dtype[:1])
    if features.kind != "pooled" and set(features.storage_dtype) != {"int8"}:
        found["features.storage_dtype=int8"] = replace(features, storage_dtype=("int8",))
    if len(found) == 2:
        found[" ".join(found)] = replace(features, kind="decoder", storage_dtype=("int8",))
    return found
