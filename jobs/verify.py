#!/usr/bin/env python
"""Looks whether a feature set is whole: python jobs/verify.py sink.uri=... [level=counts|sizes|footers|full]."""

from typing import Any

from job import run_job

from pipeline.errors import FeatureSetError


def verify(values: dict[str, Any], _overrides: list[str]) -> None:
    """Prints a line a run and a line a finding.

    Raises:
        FeatureSetError: something is wrong.
    """
    from pipeline.config import VerifyConfig, checked
    from pipeline.maintenance.verify import verify as verify_all
    from pipeline.storage.folder import Folder

    del values["choices"]
    config = checked(VerifyConfig, values)
    report = verify_all(Folder(config.sink.uri), config.level)
    print(report.text(), flush=True)
    if report.findings:
        raise FeatureSetError(f"{report.uri} is not whole: {len(report.findings)} findings, listed above")


if __name__ == "__main__":
    run_job("verify", verify)
