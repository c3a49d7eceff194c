"""Epochs from a bucket whose requests take longer, in alternating rounds: time and requests."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import slaf
from benchmarks.inputs import Counts, Input, cached_input
from benchmarks.inputs.input import FOLDER
from benchmarks.table import report
from tests.cloud.proxy import proxied
from tests.cloud.servers import fake_gcs, moto

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from benchmarks.table import Row
    from tests.cloud.proxy import Proxy

__all__ = ["add_arguments", "run"]

_SERVERS = {"s3": moto, "gs": fake_gcs}
# Windows of 2,048 cells, so that an epoch of a small dataset has some.
_SETTINGS: dict[str, dict[str, Any]] = {
    "prefetch=0": {"prefetch": 0, "window_blocks": 32},
    "default": {"window_blocks": 32},
    "block_size=256": {"block_size": 256, "window_blocks": 8},
}


@dataclass
class Epochs:
    """The epochs of a setting."""

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=30_000)
    parser.add_argument("--depth", type=float, default=6_000.0, help="molecules of a cell")
    parser.add_argument(
        "--server",
        choices=_SERVERS,
        default="gs",
        help="that of S3 reads a whole object for each range of it: take few genes and molecules",
    )
    parser.add_argument("--delays", type=float, nargs="+", default=[1.0, 0.05, 0.01])
    parser.add_argument("--step", type=float, default=0.01, help="seconds of training a batch")
    parser.add_argument("--rounds", type=int, default=3)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print seconds and requests of an epoch, and return 0."""
    counts = Counts(arguments.cells, arguments.genes, depth=arguments.depth)
    path = FOLDER / "bucket" / f"{counts.name}.slaf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (path / "config.json").exists():
        slaf.convert(cached_input(Input(counts)).path, path, compression="fast")
    with _SERVERS[arguments.server]() as cloud:
        there = cloud.at("out.slaf")
        slaf.copy(slaf.open(path), there, storage_options=cloud.options)
        with proxied(cloud.endpoint) as proxy:
            options = cloud.via(proxy.endpoint).options
            rows = list(_measured(there, options, proxy, arguments))
    report(rows, as_json=arguments.json)
    return 0


def _measured(
    there: str, options: dict[str, str], proxy: Proxy, arguments: argparse.Namespace
) -> Iterator[Row]:
    for delay in arguments.delays:
        found = {name: Epochs() for name in _SETTINGS}
        for _ in range(arguments.rounds):
            for name, setting in _SETTINGS.items():
                proxy.delay = 0.0
                dataset = slaf.open(there, storage_options=options)
                proxy.settle()
                proxy.delay = delay
                _epoch(dataset.loader(**setting), arguments.step, proxy, found[name])
        for name, epochs in found.items():
            yield {
                "delay, s": delay,
                "setting": name,
                "epoch, s": round(median(epochs.seconds), 2),
                "least": round(min(epochs.seconds), 2),
                "most": round(max(epochs.seconds), 2),
                "first batch, s": round(median(epochs.first), 2),
                "requests": int(median(epochs.requests)),
            }


def _epoch(loader: Any, step: float, proxy: Proxy, epochs: Epochs) -> None:
    """Run an epoch, and a training that only waits."""
    proxy.passed.clear()
    began = time.monotonic()
    for number, _ in enumerate(loader):
        if not number:
            epochs.first.append(time.monotonic() - began)
        time.sleep(step)
    epochs.seconds.append(time.monotonic() - began)
    proxy.settle()
    epochs.requests.append(Counter(each.method for each in proxy.passed)["GET"])
