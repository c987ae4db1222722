"""Every state the commit protocol can reach, breadth first, for the rules as they are and for broken ones.

Bounds: 2 writers (one unit at a time, in any order), 2 units, 1 restart each, 2 sends a request, 2 unclear answers
whose requests land later or never, 1 abandon command, 1 clean that looks and later deletes. From every open state a
last writer without new faults must end the run. Left out: unclear uploads, loss of power, tables but the index.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

EMPTY: frozenset = frozenset()
UNITS = (0, 1)
SENDS = 2
# The command's place among the processes, and the life of the last writer.
ABANDON, LAST = 2, 3
ENDED = ("sealed", "abandoned")

# A file is (unit or "index", who wrote it, in which life, slot): no other attempt has that name, so it is the token.
# An object is (unit, slot) with a shard for its body, or MANIFEST with (how the run ended, index, shards). Slots other
# than 0 come of a broken rule.
File, Name, Body = tuple, tuple, tuple
MANIFEST = ("manifest", 0)
ABANDONED = ("abandoned", (), ())


class Process(NamedTuple):
    """What a writer or the abandon command remembers; a restarted writer remembers nothing."""

    phase: str
    life: int = 0
    known: frozenset[int] = frozenset()  # units it takes for committed
    name: Name = ()
    body: Body = ()
    sends: int = 0


class State(NamedTuple):
    """The store, the requests that may still land, the commits somebody relies on, and the processes."""

    processes: tuple[Process, ...]
    unclear: int  # answers that may still get lost
    files: frozenset[File] = frozenset()
    objects: frozenset[tuple[Name, Body]] = frozenset()
    flying: frozenset[tuple[Name, Body, int]] = frozenset()
    told: frozenset[File] = frozenset()
    doomed: frozenset[File] | None = None  # None before the clean has looked, empty when it is done


Moves = Iterator[tuple[str, State]]


def standing(state: State, name: Name) -> Body | None:
    return next((body for found, body in state.objects if found == name), None)


def commits(state: State) -> list[File]:
    return sorted(body for name, body in state.objects if name != MANIFEST)


def become(state: State, who: int, process: Process) -> State:
    processes = (*state.processes[:who], process, *state.processes[who + 1 :])
    return State(processes, *state[1:])


@dataclass(frozen=True)
class Model:
    """The moves out of a state; `variant` names the broken rule, `reduced` leaves out what cannot matter any more."""

    variant: str = "correct"
    reduced: bool = True
    restarts: int = 1
    unclear: int = 2
    cleans: int = 1

    def first(self) -> State:
        command = Process("send", name=MANIFEST, body=ABANDONED)
        return State((Process("start"), Process("start"), command), self.unclear, doomed=None if self.cleans else EMPTY)

    def moves(self, state: State) -> Moves:
        for who, process in enumerate(state.processes):
            actor = "abandon" if who == ABANDON else f"writer {who}"
            if process.phase in STEPS:
                for action, after in STEPS[process.phase](self, state, who):
                    yield f"{actor} {action}", after
            if who != ABANDON and process.life < self.restarts and process.phase not in ("start", *ENDED):
                yield f"{actor} starts again", self.let_go(state, who, Process("start", process.life + 1))
        for request in sorted(state.flying, key=repr):
            landed = self.apply(state._replace(flying=state.flying - {request}), request[:2])
            what = "manifest" if request[0] == MANIFEST else f"commit of unit {request[0][0]}"
            yield f"late {what} lands", self.forget(landed)
        yield from self.clean(state)
        # Once the run has ended a new writer only finds it so.
        if state.processes[0].life != LAST and standing(state, MANIFEST) is None:
            yield "all die, a last writer comes", self.last(state)

    def last(self, state: State) -> State:
        gone = Process("stopped", LAST)
        alone = state._replace(processes=(gone, gone, gone), unclear=0, told=EMPTY, doomed=state.doomed or EMPTY)
        return self.let_go(alone, 0, Process("start", LAST))

    def start(self, state: State, who: int) -> Moves:
        # The writers are alike, so the first to move may as well be writer 0.
        if who == 1 and state.processes[0] == Process("start"):
            return
        life, manifest = state.processes[who].life, standing(state, MANIFEST)
        if manifest:
            yield "finds the run ended", become(state, who, Process(manifest[0]))
            return
        found = commits(state)
        worker = Process("work", life, frozenset(shard[0] for shard in found))
        yield "lists the commits", become(state._replace(told=state.told.union(found)), who, worker)

    def work(self, state: State, who: int) -> Moves:
        me = state.processes[who]
        # The units are alike until something is written.
        for unit in UNITS if state.files or state.objects or state.flying else UNITS[:1]:
            if unit not in me.known:
                yield f"writes a shard of unit {unit}", self.write_shard(state, who, (unit, 0))
        if len(me.known) == len(UNITS):
            listing = sorted(file for file in state.files if file[0] != "index")
            shards = listing if self.variant == "seal_by_listing" else commits(state)
            index = ("index", who, me.life, 0)
            me = me._replace(phase="send", name=MANIFEST, body=("sealed", index, tuple(shards)))
            yield "writes the index", become(state._replace(files=state.files | {index}), who, me)

    def write_shard(self, state: State, who: int, name: Name) -> State:
        me = state.processes[who]
        shard = (name[0], who, me.life, name[1])
        me = me._replace(phase="send", name=name, body=shard, sends=0)
        return become(state._replace(files=state.files | {shard}), who, me)

    def send(self, state: State, who: int) -> Moves:
        me = state.processes[who]
        me = me._replace(sends=me.sends + 1)
        bounces = standing(state, me.name) is not None and not self.overwrites(me.name)
        if state.unclear:
            # A request that was applied but not answered is one that lands right away.
            sent = state.flying if bounces and self.reduced else state.flying | {(me.name, me.body, me.sends)}
            lost = state._replace(flying=sent, unclear=state.unclear - 1)
            yield "sends, gets no clear answer", become(lost, who, me._replace(phase="settle"))
        if not bounces:
            yield "sends, is told ok", self.accept(self.apply(state, (me.name, me.body)), who, me.body)
        elif self.variant == "exists_means_mine":
            yield "sends, is told exists, takes it for its own", self.accept(state, who, me.body)
        elif self.variant == "exists_is_failure":
            yield "sends, is told exists, fails", self.let_go(state, who, Process("stopped", me.life))
        else:
            # What stands never changes, so the read may as well come at once.
            certain = self.variant != "no_token" or me.sends == 1
            for action, after in self.read_back(become(state, who, me), who, certain):
                yield f"sends, is told exists, {action}", after

    def overwrites(self, name: Name) -> bool:
        return self.variant == "unconditional_write" or (self.variant == "unconditional_seal" and name == MANIFEST)

    def apply(self, state: State, item: tuple[Name, Body]) -> State:
        """What the store does with a request, whenever it arrives."""
        there = standing(state, item[0])
        if self.overwrites(item[0]):
            return state._replace(objects=state.objects - {(item[0], there)} | {item})
        if there:
            return state
        # Other requests for this name can change nothing from now on.
        flying = frozenset(other for other in state.flying if other[0] != item[0]) if self.reduced else state.flying
        return state._replace(objects=state.objects | {item}, flying=flying)

    def settle(self, state: State, who: int) -> Moves:
        yield from self.read_back(state, who, self.variant != "no_token")

    def read_back(self, state: State, who: int, certain: bool) -> Moves:
        """Decides by what stands, or fails to; `certain` when the writer can tell whose it is."""
        me, files = state.processes[who], state.files
        # A command that gives up does what one that takes for ever does: nothing.
        if me.life != LAST and who != ABANDON:
            files = files - {me.body} if self.variant == "delete_on_unknown" else files
            yield "gives up", self.let_go(state._replace(files=files), who, Process("stopped", me.life))
        there = standing(state, me.name)
        if there is None:
            if me.sends < SENDS:
                yield "reads that it is absent", become(state, who, me._replace(phase="send"))
        elif not certain and me.name != MANIFEST:
            again = (me.name[0], me.name[1] + 1)
            yield "cannot tell whose it is, writes another shard", self.write_shard(state, who, again)
        else:
            yield "reads what stands", self.accept(state, who, there)

    def accept(self, state: State, who: int, body: Body) -> State:
        """The process relies on `body` standing under the name it wrote to."""
        me = state.processes[who]
        if me.name == MANIFEST:
            return self.let_go(state, who, Process(body[0]))
        worker = Process("work", me.life, me.known | {me.name[0]})
        return self.let_go(state._replace(told=state.told | {body}), who, worker)

    def let_go(self, state: State, who: int, process: Process) -> State:
        return self.forget(become(state, who, process))

    def forget(self, state: State) -> State:
        """Leaves out files that nothing names or remembers: their names never come again."""
        if not self.reduced or self.variant == "seal_by_listing":
            return state
        if (MANIFEST, ABANDONED) in state.objects:
            return state._replace(files=EMPTY, doomed=EMPTY)
        named: set[File] = set()
        bodies = [body for _, body in state.objects] + [request[1] for request in state.flying]
        for body in (*bodies, *(process.body for process in state.processes)):
            named.update((body[1], *body[2]) if body and body[0] in ENDED else (body,))
        if state.files <= named:
            return state
        return state._replace(files=state.files & named, doomed=state.doomed and state.doomed & named)

    def clean(self, state: State) -> Moves:
        if state.doomed:
            yield "clean deletes", state._replace(files=state.files - state.doomed, doomed=EMPTY)
        elif state.doomed is None:
            doomed = frozenset(file for file in state.files if self.deletable(state, file))
            if doomed:
                yield "clean looks", state._replace(doomed=doomed)

    def deletable(self, state: State, file: File) -> bool:
        manifest = standing(state, MANIFEST)
        if manifest:
            return file not in (manifest[1], *manifest[2])
        of_unit = [shard for shard in commits(state) if shard[0] == file[0]]
        return file not in of_unit and (bool(of_unit) or self.variant == "clean_deletes_uncommitted")


STEPS: dict[str, Callable[[Model, State, int], Moves]] = {
    "start": Model.start,
    "work": Model.work,
    "send": Model.send,
    "settle": Model.settle,
}


def visible(state: State) -> tuple[Body, frozenset[File]] | None:
    """What readers see: how the run ended, and the files that are really there."""
    manifest = standing(state, MANIFEST)
    return manifest and (manifest, state.files.intersection((manifest[1], *manifest[2])))


def broken(state: State) -> str:
    """The invariant that does not hold in this state, if any."""
    shards = commits(state)
    how, index, sealed = standing(state, MANIFEST) or ("open", (), ())
    if any(process.phase in ENDED and process.phase != how for process in state.processes):
        return "b: somebody was told another end than the one that stands"
    if not state.told.issubset(shards) or (how == "sealed" and not state.told.issubset(sealed)):
        return "b: an acknowledged commit is lost"
    if how == "sealed" and sorted(shard[0] for shard in sealed) != list(UNITS):
        return "a: a unit is visible twice or not at all"
    # Nobody will ever read what an abandoned run names.
    if how != "abandoned" and not state.files.issuperset((index, *sealed) if how == "sealed" else shards):
        return "a: a file is named that is not there"
    return ""


class Result(NamedTuple):
    """What a walk found; `broken` and `trace` are empty when the rules hold."""

    states: int
    actions: frozenset[str]
    phases: frozenset[tuple[str, ...]]
    broken: str
    trace: tuple[str, ...]


def explore(model: Model) -> Result:
    """Walks every state until an invariant breaks; the trace is then a shortest one."""
    came_from: dict[State, tuple[str, State | None]] = {model.first(): ("", None)}
    queue = deque(came_from)
    while queue:
        state = queue.popleft()
        seen, moved = visible(state), False
        for action, after in model.moves(state):
            moved, new = True, after not in came_from
            if new:
                came_from[after] = (action, state)
                queue.append(after)
            changed = "c: what readers see has changed" if seen and visible(after) != seen else ""
            wrong = changed or (broken(after) if new else "")
            if wrong:
                return _result(came_from, wrong, after)
        # Every move uses something up: whoever never ends the run comes to such a state.
        if not moved and not seen:
            return _result(came_from, "d: a restart without faults does not end the run", state)
    return _result(came_from)


def _result(came_from: dict[State, tuple[str, State | None]], wrong: str = "", state: State | None = None) -> Result:
    trace: list[str] = []
    while state:
        action, state = came_from[state]
        trace.append(action)
    actions = frozenset(action for action, _ in came_from.values() if action)
    phases = frozenset(tuple(process.phase for process in found.processes) for found in came_from)
    return Result(len(came_from), actions, phases, wrong, tuple(reversed(trace[:-1])))
