"""All comparisons in one run, side by side on this machine: prints the tables and keeps them in results/.

make bench                       (about 15 minutes on two cores; the peers get an environment of their own)
make bench ARGS_BENCH="--only encoder --only writing"
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from photographs import make_photographs

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
MODELS = ("sam2.1_hiera_tiny", "sam2.1_hiera_base_plus")
NUM_PHOTOGRAPHS = 64


def ask(program: str, *arguments: str, python: Path | str = sys.executable) -> dict[str, Any]:
    """What a program of this folder prints."""
    done = subprocess.run([str(python), str(HERE / program), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def encoder(_: Path) -> list[str]:
    """The encoder alone, ours and the peers', one after the other."""
    lines = []
    for model in MODELS:
        ours, peers = ask("encoder.py", model), ask("peers/encoders.py", model, python=PEERS)
        rows = [
            ("ours, bf16", ours["packed bf16"]),
            ("ours, bf16, a lane a core (per image)", ours["packed bf16, a lane a core"]),
            ("ours, fp32", ours["packed fp32"]),
            ("the modules, as SAM 2 computes: bf16 autocast", ours["modules bf16"]),
            ("the modules, fp32", ours["modules fp32"]),
            *peers.items(),
        ]
        lines += [f"### {model}, 1024 px, one image", "", "| what | s |", "|---|---|"]
        lines += [f"| {name} | {seconds:.3f} |" for name, seconds in rows]
        lines += ["", "| ratio | |", "|---|---|"]
        for peer in ("transformers bf16", "OpenVINO bf16"):
            lines.append(f"| {peer} / ours | {peers[peer] / ours['packed bf16']:.2f} |")
        lines.append(f"| transformers fp32 / ours | {peers['transformers fp32'] / ours['packed fp32']:.2f} |")
        errors = {how: [ours[f"{how} error {level}"] for level in range(3)] for how in ("packed bf16", "modules bf16")}
        lines += ["", "| relative L2 error against fp32, levels 0, 1, 2 | |", "|---|---|"]
        lines += [f"| {how} | {', '.join(f'{error:.4f}' for error in each)} |" for how, each in errors.items()]
        lines.append("")
    return lines


def end_to_end(folder: Path) -> list[str]:
    """The whole command, beside the bare encoder and the documented pattern."""
    photos = folder / "photos"
    ours = ask("end_to_end.py", str(photos), str(folder / "ours"), "model.checkpoint=random")
    shutil.rmtree(folder / "ours")
    bare = ["model.checkpoint=random", "run.audit_images=0"]
    unaudited = ask("end_to_end.py", str(photos), str(folder / "ours"), *bare)
    shutil.rmtree(folder / "ours")
    bare_s = ask("encoder.py", MODELS[0])["packed bf16"]
    began = time.monotonic()
    subprocess.run(
        [str(PEERS), str(HERE / "peers/ray_data_pattern.py"), str(photos), str(folder / "pattern")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    pattern_s = time.monotonic() - began
    shutil.rmtree(folder / "pattern")
    return [
        "| what | |",
        "|---|---|",
        f"| the bare encoder, s an image | {bare_s:.3f} |",
        f"| embed job, steady, s an image | {ours['steady']:.3f} ({ours['steady'] / bare_s:.2f} of bare) |",
        f"| the same without its audits | {unaudited['steady']:.3f} ({unaudited['steady'] / bare_s:.2f} of bare) |",
        f"| embed job, whole command, s | {ours['wall']:.1f} (without audits {unaudited['wall']:.1f}) |",
        f"| embed job, first features in the sink after, s | {ours['first']:.1f} |",
        f"| embed job, peak memory, GB | {ours['peak GB']:.2f} (without audits {unaudited['peak GB']:.2f}) |",
        f"| documented Ray Data pattern, whole command, s | {pattern_s:.1f} ({pattern_s / ours['wall']:.2f} of ours) |",
        "",
        "```",
        *ours["summary"].splitlines()[:-1],
        "```",
        "",
    ]


def feeding(folder: Path) -> list[str]:
    """Everything before the encoder."""
    photos = str(folder / "photos")
    return _table({**ask("feeding.py", photos), **ask("peers/jpeg_decoders.py", photos, python=PEERS)})


def writing(_: Path) -> list[str]:
    """Everything after the encoder."""
    return _table(ask("writing.py"))


def memory(folder: Path) -> list[str]:
    """Peak memory of jobs of 64 and 640 images, with the toy encoder."""
    lines = ["| images, hiera_debug | peak GB | s an image |", "|---|---|---|"]
    for count in (64, 640):
        photos = folder / f"small{count}"
        make_photographs(photos, count, (320, 240))
        facts = ask("end_to_end.py", str(photos), str(folder / "toy"), "model=hiera_debug", "model.checkpoint=random")
        shutil.rmtree(folder / "toy")
        steady = f"{facts['steady']:.4f}" if facts["steady"] else "one unit"
        lines.append(f"| {count} | {facts['peak GB']:.2f} | {steady} |")
    return [*lines, ""]


PARTS: dict[str, Callable[[Path], list[str]]] = {
    "encoder": encoder,
    "end_to_end": end_to_end,
    "feeding": feeding,
    "writing": writing,
    "memory": memory,
}


def _table(facts: dict[str, Any]) -> list[str]:
    return ["| what | |", "|---|---|", *(f"| {name} | {value:.2f} |" for name, value in facts.items()), ""]


def main() -> None:
    """Runs the parts one after another; nothing else should run meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS)
    chosen = parser.parse_args().only or list(PARTS)
    machine = ask("machine.py")
    cpu = machine.pop("cpu")
    cores, today = len(os.sched_getaffinity(0)), datetime.now(UTC)
    limits = ", ".join(f"{name} {value:.2f}" for name, value in machine.items())
    lines = ["# Side by side on one machine", "", f"{today:%Y-%m-%d}; {cpu}; measured limits: {limits}.", ""]
    print(*lines, sep="\n")
    lines += ["Random weights throughout, which change no time. Medians; every program alone on the machine.", ""]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        make_photographs(folder / "photos", NUM_PHOTOGRAPHS)
        for name in chosen:
            part = [f"## {(PARTS[name].__doc__ or name).rstrip('.')}", "", *PARTS[name](folder)]
            print("\n".join(part), flush=True)  # now: a later part may fail
            lines += part
    finally:
        shutil.rmtree(folder)
    text = "\n".join(lines)
    if chosen == list(PARTS):
        (HERE / "results" / f"bench_{cores}cores_{today:%Y%m}.md").write_text(text)


if __name__ == "__main__":
    main()
