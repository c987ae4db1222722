"""How the work runs on a cluster: moves rows between rooms, holds no image, model or file-format logic.

The only room that imports ray; `plan`, `resources`, `blocks`, `fetch` and `encode` do without it.
"""
