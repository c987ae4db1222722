"""A Ray to work on: the one that was named, the one this job was submitted to, or a local one of our own.

Ray is kept quiet unless asked otherwise, and its errors become ours: one sentence, the value, what to do.
"""

import atexit
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import ray
import torch
from ray.data import DataContext
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group

from pipeline.errors import ConfigError, PipelineError, RunIncompleteError
from pipeline.execution.head_watch import HeadWatch
from pipeline.execution.node_watch import NodeWatch
from pipeline.execution.ray_access import give_token, own_address, require_clean_command, require_token
from pipeline.execution.resources import Need, Node, cores_here
from pipeline.execution.stopping import stop_on_sigterm

# Ray Data's planner, its fetch tasks and an encoder each hold a logical CPU; on two they would starve each other.
_SPARE_LOCAL_CPUS = 3


class Cluster:
    """A Ray cluster, connected to when it is first needed; a local one is started then.

    Args:
        address: where Ray is; None takes `RAY_ADDRESS`, and without that a local Ray of our own.
        logs: whether Ray's own output is shown.
        allow_unauthenticated: use a Ray that asks for no token, wherever it is.

    Raises:
        ConfigError: it would be used without a token, and others may reach it; or it would show a secret.
    """

    def __init__(self, address: str | None, *, logs: bool, allow_unauthenticated: bool = False) -> None:
        self._address = own_address(address)
        if self._address is not None:
            require_clean_command()
            if not allow_unauthenticated:
                require_token(self._address)
        self._logs = logs
        self._watch: HeadWatch | None = None
        self._nodes: NodeWatch | None = None

    @property
    def can_grow(self) -> bool:
        """Whether nodes may join it."""
        return self._address is not None

    def nodes(self, need: Need, wait_s: float) -> Sequence[Node]:
        """The nodes there are to work on; asking for those of a local Ray does not start it.

        Args:
            need: what one of them must have; asked for, and waited for, unless the Ray is a local one.
            wait_s: how long, in seconds.

        Raises:
            ConfigError: there is no Ray at the address.
            RunIncompleteError: no such node came in time.
        """
        if self._address is None:
            return self.nodes_there()
        self.connect()
        self._nodes = NodeWatch(_nodes_there, wait_s)
        with _asked_for(need):
            return self._nodes.wait(need)

    def nodes_there(self) -> Sequence[Node]:
        """The nodes there are now; nobody waits for more.

        Raises:
            ConfigError: there is no Ray at the address.
        """
        if self._address is None:
            return [_this_machine()]
        self.connect()
        return _nodes_there()

    def watch_nodes(self, need: Need) -> None:
        """From now on tells of nodes that come and go; RunIncompleteError in the main thread when none can encode."""
        if self._nodes is not None:
            self._nodes.start(need)

    def connect(self) -> None:
        """Connects, or starts the local Ray; once is enough.

        Raises:
            ConfigError: there is no Ray at the address.
        """
        if ray.is_initialized():
            return
        _set_ray_defaults(logs=self._logs)
        common = {"log_to_driver": self._logs, "logging_level": logging.INFO if self._logs else logging.ERROR}
        try:
            with _silenced(not self._logs):
                if self._address is None:
                    give_token()
                    num_cpus = int(_this_machine().num_cpus)
                    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **common)
                else:
                    ray.init(address=self._address, **common)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise ConfigError(f"no Ray at {self._address or 'this machine'}: {_last_line(error)}") from None
        # Only now: ray.init puts a handler of its own there.
        stop_on_sigterm()
        _set_ray_defaults(logs=self._logs)
        self._watch = HeadWatch(ray.get_runtime_context().gcs_address)
        self._watch.start()

    def leave(self) -> None:
        """Ends what was connected or started; of a lost head there is nothing to take leave of."""
        if self._nodes is not None:
            self._nodes.stop()
        if self._watch is not None and self._watch.is_lost:
            atexit.unregister(ray.shutdown)  # it would wait for the head
        elif ray.is_initialized():
            ray.shutdown()
        if self._watch is not None:
            self._watch.stop()  # only now: the head may be lost while leave is taken of it


@contextmanager
def open_cluster(address: str | None, *, logs: bool, allow_unauthenticated: bool = False) -> Iterator[Cluster]:
    """A cluster for the length of the block; errors from its workers leave the block as ours.

    Raises:
        ConfigError: as `Cluster`.
        RunDrainedError: the process was told to stop (SIGTERM).
        RunIncompleteError: Ray gave up.
        PipelineError: whatever went wrong on a worker, as the error it was there.
    """
    cluster = Cluster(address, logs=logs, allow_unauthenticated=allow_unauthenticated)
    try:
        with _our_errors():
            yield cluster
    finally:
        cluster.leave()


def node_here() -> str:
    """The id in Ray of the node that a worker is on."""
    return str(ray.get_runtime_context().get_node_id())


def _this_machine() -> Node:
    num_cores = cores_here()
    return Node(num_cores + _SPARE_LOCAL_CPUS, torch.cuda.device_count(), num_cores)


def _nodes_there() -> list[Node]:
    there = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [Node(has.get("CPU", 0), has.get("GPU", 0), int(has.get("CPU", 0)), node_id) for node_id, has in there]


@contextmanager
def _asked_for(need: Need) -> Iterator[None]:
    """Lets an autoscaler know inside the block that such a node is wanted; it starts none for somebody who looks."""
    if not need.lacks(_nodes_there()):
        yield
        return
    encoder = {"CPU": need.num_cpus, "GPU": need.num_gpus}
    group = placement_group([{name: count for name, count in encoder.items() if count}, {"CPU": 1}])
    try:
        yield
    finally:
        with suppress(RayError):
            remove_placement_group(group)


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        ours = _pipeline_error(error)
        if ours is not None:
            raise ours from None
        raise RunIncompleteError(
            f"the run stopped early: {_last_line(error)}",
            "what is committed stays, run the same command again; if workers were killed, "
            "docs/runbook.md#out-of-memory says what to ask less of; execution.ray_logs=true shows Ray's own words",
        ) from None
    except ExecutionTimeoutError:
        idle_s = DataContext.get_current().execution_no_progress_timeout_s
        raise RunIncompleteError(
            f"the run stopped early: no unit has moved for {idle_s:.0f} s, so an encoder or a task hangs",
            "what is committed stays, run the same command again; docs/runbook.md#stuck-actor finds the one that hangs",
        ) from None


def _pipeline_error(error: BaseException) -> PipelineError | None:
    """The error of ours that Ray wrapped, itself and not Ray's copy whose text is a traceback."""
    cause: BaseException | None = error
    while isinstance(cause, RayError):
        cause = getattr(cause, "cause", None)
    if not isinstance(cause, PipelineError):
        return None
    # Ray Data appends advice about its own retry settings to whatever a worker raised.
    return type(cause)(*(re.split(r"(?:\n|\\n)Failed to apply UDF transform", line)[0] for line in cause.args))


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _silenced(silent: bool) -> Iterator[None]:
    """Keeps what Ray's C++ side writes straight to stderr while it starts off the terminal."""
    if not silent:
        yield
        return
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def _set_ray_defaults(*, logs: bool) -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    if logs:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # max_restarts and max_task_retries have no other way in yet; the pinned range ends before this one closes.
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what ends the run is told by our own error
