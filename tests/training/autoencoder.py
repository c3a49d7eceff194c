"""A small autoencoder, trained on two ranks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import slaf

if TYPE_CHECKING:
    from pathlib import Path


def train(dataset: str, folder: Path, store: str, rank: int, kill_after: int) -> None:
    """Train for two epochs; log each batch and save the model and the state of the loader."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    loader = slaf.open(dataset).loader(
        batch_size=32, block_size=8, window_blocks=16, to="dense", target_sum=100, log1p=True
    )
    network = nn.Sequential(
        nn.Linear(loader.n_genes, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, loader.n_genes)
    )
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    checkpoint, log = folder / f"checkpoint-{rank}.pt", folder / f"batches-{rank}.jsonl"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
    done = len(log.read_text().splitlines()) if log.exists() else 0
    while loader.position.epoch < 2:
        for batch in loader.torch():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch["X"]), batch["X"])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            record = {"cells": batch["cells"].tolist(), "loss": loss.item()}
            with log.open("a") as file:
                file.write(json.dumps(record) + "\n")
            states: dict[str, Any] = {"model": model, "optimizer": optimizer, "loader": loader}
            torch.save({name: each.state_dict() for name, each in states.items()}, checkpoint)
            done += 1
            if done == kill_after:
                distributed.barrier()
                os.kill(os.getpid(), 9)
    distributed.destroy_process_group()
