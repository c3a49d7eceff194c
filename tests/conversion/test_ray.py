"""Parts as tasks of a Ray cluster, whose nodes come and go."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, unaccounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("ray")
# Ray warns of much, and starts processes where Lance warns of it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

N_PARTS = 12
OPTIONS: dict[str, Any] = {"chunk_size": 500}
_PATIENCE = 300


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.02)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of twelve parts."""
    return write_h5ad(tmp_path / "in.h5ad", counts(500 * N_PARTS, 400))


def test_a_node_is_lost_and_another_comes(cluster: Any, source: Path, tmp_path: Path) -> None:
    """Parts of a node that is lost are done again, no others; the dataset is that of one."""
    slaf.convert(source, tmp_path / "one.slaf", **OPTIONS)
    output = tmp_path / "many.slaf"
    first, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    address, files = cluster.address, set[str]()

    def change_nodes() -> None:
        wait_until(lambda: len(list(output.glob(".parts/*/part-*.json"))) >= 2)
        cluster.remove_node(first, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    def watch() -> None:
        while not stop.wait(0.01):
            files.update(file.name for file in output.glob("expression.lance/data/*.lance"))

    stop = threading.Event()
    threads = [threading.Thread(target=each) for each in (change_nodes, watch)]
    for thread in threads:
        thread.start()
    slaf.convert(source, output, **OPTIONS, executor="ray", ray_address=address)
    stop.set()
    for thread in threads:
        thread.join()
    assert N_PARTS <= len(files) <= N_PARTS + 1
    assert output_of(output) == output_of(tmp_path / "one.slaf")
    assert not unaccounted(output)


def test_a_driver_that_is_killed(cluster: Any, source: Path, tmp_path: Path) -> None:
    """The same command goes on where a driver was killed, by Ray or without it."""
    slaf.convert(source, tmp_path / "one.slaf", **OPTIONS)
    cluster.add_node(num_cpus=1)
    output = tmp_path / "many.slaf"
    words = ["convert", str(source), str(output), "--chunk-size", "500", "--quiet"]
    program = [sys.executable, "-c", "from slaf_cli.app import main; main()"]
    driver = subprocess.Popen(
        [*program, *words, "--executor", "ray", "--ray-address", cluster.address]
    )
    wait_until(lambda: list(output.glob(".parts/*/part-*.json")))
    driver.kill()
    driver.wait()
    subprocess.run([*program, *words], check=True)
    assert output_of(output) == output_of(tmp_path / "one.slaf")
    slaf.verify(output, source)
