"""Two sweeps on a Ray cluster of two nodes on this machine; in the second one a node is killed.

A program of its own, for Ray leaves threads, sockets and handlers behind.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

from engine_jobs import planned, tiny_jobs, varied_jobs
from ray.cluster_utils import Cluster

from forescale.sweep.engines import RayEngine, drive
from forescale.sweep.store import Store

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


def kill_in_the_middle(cluster: Cluster, node: Any, store: Store, keys: list[str]) -> None:
    """Kill the node once runs have checkpoints on both, and leave a word that it was so."""
    while sum((store.folder(key) / "checkpoints").exists() for key in keys) < 2:
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    (store.runs / "killed").write_text(str(store.counts().get("done", 0)))


def main(folder: Path) -> None:
    """Makes agree.db and moved.db in the folder."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    node = cluster.add_node(**NODE)
    drive(planned(folder / "agree.db", varied_jobs(folder)), RayEngine(address=cluster.address), progress=False)
    jobs = tiny_jobs(folder, 3, steps=250, checkpoint_every=10)
    store = planned(folder / "moved.db", jobs)
    arguments = (cluster, node, store, [job.key for job in jobs])
    threading.Thread(target=kill_in_the_middle, args=arguments, daemon=True).start()
    drive(store, RayEngine(address=cluster.address), progress=False)
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
