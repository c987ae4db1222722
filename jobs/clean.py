#!/usr/bin/env python
"""Lists files that nothing can need, and with --yes deletes them: python jobs/clean.py sink.uri=... [--yes]."""

from typing import Any

from job import run_job

YES = "--yes"


def clean(values: dict[str, Any], overrides: list[str]) -> None:
    """Prints a line a file, and what they add up to."""
    from pipeline.config import CleanConfig, checked
    from pipeline.maintenance.clean import clean as clean_all
    from pipeline.maintenance.orphans import Orphans
    from pipeline.storage.folder import Folder

    del values["choices"]
    config, is_certain = checked(CleanConfig, values), YES in overrides
    root = Folder(config.sink.uri)
    orphans, num_orphans, size_bytes = Orphans(root), 0, 0
    for each in clean_all(root, orphans, older_than_s=config.older_than_hours * 3600, is_certain=is_certain):
        print(f"{'deleted ' if each.is_orphan and is_certain else ''}{each}", flush=True)
        num_orphans += each.is_orphan
        size_bytes += each.is_orphan * (each.size_bytes or 0)
    advice = "nothing to delete" if not num_orphans else "deleted" if is_certain else f"{YES} deletes them"
    print(f"{num_orphans} orphans, {size_bytes} bytes: {advice}")
    print(f"{orphans.num_young} files are younger than {config.older_than_hours:g} h and were not looked at")


if __name__ == "__main__":
    run_job("clean", clean, flags=(YES,))
