"""Train the baseline from scratch, which is how the shipped weights were made."""

from __future__ import annotations

from pathlib import Path

import torch
from data import load
from model.model import build
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

EPOCHS = 60
BATCH = 32
LEARNING_RATE = 1e-3
WEIGHTS = Path(__file__).parent / "model" / "model.safetensors"


def fit(module: nn.Module, measurements: torch.Tensor, targets: torch.Tensor) -> None:
    """Train `module` in place on `measurements` (n, 10) and `targets` (n,)."""
    steps = EPOCHS * -(-len(targets) // BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(targets)).split(BATCH):
            loss = functional.mse_loss(module(measurements[chosen])[:, 0], targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train, print the error on validation, and write the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, train, validation = build(), load("train"), load("validation")
    fit(module, torch.from_numpy(train["measurements"]), torch.from_numpy(train["y"]))
    with torch.inference_mode():
        answers = module(torch.from_numpy(validation["measurements"]))[:, 0].numpy()
    rmse = float(((answers - validation["y"]) ** 2).mean() ** 0.5)
    print(f"RMSE on validation: {rmse:.3f}, of the mean alone: {validation['y'].std():.3f}")
    save_file(module.state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
