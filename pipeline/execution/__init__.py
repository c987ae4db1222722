"""How the work runs on a cluster: moves rows between rooms, the only room that knows Ray.

It holds no image, model or file-format logic; of its modules only `graph`, `cluster` and `run` import ray.
"""
