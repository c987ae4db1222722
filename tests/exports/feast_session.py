"""Feast's own view of an export: runs its commands in a repository, asks it for features, prints what it said as JSON.

Run with .venv-feast/bin/python, the request on stdin.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

REQUEST = json.load(sys.stdin)
if REQUEST.get("load_sqlite_vec"):
    import pysqlite3

    sys.modules["sqlite3"] = pysqlite3

import pandas as pd  # noqa: E402
from feast import FeatureStore  # noqa: E402
from feast.cli.cli import cli  # noqa: E402

FEATURES = [f"image_features:{name}" for name in ("embedding", "uri", "original_height", "original_width")]


def online(store: FeatureStore, image_ids: list[str]) -> dict[str, Any]:
    """The features that are served now."""
    rows = [{"image_id": image_id} for image_id in image_ids]
    return store.get_online_features(features=FEATURES, entity_rows=rows).to_dict()


def historical(store: FeatureStore, asked: list[tuple[str, str]]) -> dict[str, Any]:
    """The vectors of images as they were at points in time, in the order asked."""
    frame = pd.DataFrame(
        {
            "image_id": [image_id for image_id, _ in asked],
            "event_timestamp": pd.to_datetime([time for _, time in asked], utc=True, format="ISO8601"),
            "place": range(len(asked)),
        }
    )
    found = store.get_historical_features(entity_df=frame, features=FEATURES[:2]).to_df().sort_values("place")
    vectors = [None if vector is None else [float(each) for each in vector] for vector in found["embedding"]]
    return {"image_id": list(found["image_id"]), "embedding": vectors}


def search(store: FeatureStore, vector: list[float], *, load_sqlite_vec: bool) -> dict[str, Any]:
    """The nearest images, without their vectors, whose bytes Feast would give as numbers; or why it cannot search.

    Under Python 3.10 Feast loads sqlite-vec into its connection; elsewhere it has to be done for it.
    """
    if load_sqlite_vec:
        import sqlite_vec

        connection = store._get_provider().online_store._get_conn(store.config)  # noqa: SLF001
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
    try:
        found = store.retrieve_online_documents_v2(features=["image_features:uri"], query=vector, top_k=2)
    except Exception as error:  # noqa: BLE001  reported to the test
        return {"error": f"{type(error).__name__}: {error}"}
    return found.to_dict()


def main() -> None:
    """Does what was asked, in order."""
    folder = Path(REQUEST["folder"])
    os.chdir(folder)
    for command in REQUEST["commands"]:
        cli.main(command, standalone_mode=False)
    store = FeatureStore(repo_path=str(folder))
    said = {
        "online": online(store, REQUEST["online"]),
        "historical": historical(store, REQUEST["historical"]),
        "search": search(store, REQUEST["search"], load_sqlite_vec=REQUEST.get("load_sqlite_vec", False)),
    }
    print(f"\n{json.dumps(said)}")  # noqa: T201


if __name__ == "__main__":
    main()
