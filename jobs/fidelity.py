#!/usr/bin/env python
"""What each way to store features costs: python jobs/fidelity.py source.uri=... model.checkpoint=... [images=8]."""

from dataclasses import asdict
from typing import Any

from embed import with_model
from job import run_job


def measure(values: dict[str, Any], overrides: list[str]) -> None:
    """Prints the table."""
    from pipeline.config import FidelityConfig, checked_job

    config = checked_job(with_model(values, overrides), FidelityConfig)
    from pipeline.exports.fidelity import Bench, fidelity
    from pipeline.model.build import load_encoder_config
    from pipeline.model.weights import resolve_weights
    from pipeline.sources.opening import open_source, roots_of

    source = open_source(**asdict(config.source))
    encoder = load_encoder_config(config.model.config or config.model.name, config.model.overrides)
    weights = resolve_weights(config.model.checkpoint, encoder.name)
    side_px = config.preprocess.side_px or encoder.side_px
    bench = Bench(encoder, weights, side_px=side_px, precision=config.precision, roots=roots_of(source))
    print(fidelity(bench, source.refs(), config.images).text(), flush=True)


if __name__ == "__main__":
    run_job("fidelity", measure)
