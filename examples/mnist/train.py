"""Train the baseline from scratch, which is how the shipped weights were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from data import load
from model.model import build
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

EPOCHS = 3  # of five images for each of the 3,000
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHTS = Path(__file__).parent / "model" / "model.safetensors"


def fit(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train `module` in place on the labelled images."""
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    module.train()
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(module(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}/{EPOCHS}, last loss {loss.item():.4f}", flush=True)


def accuracy(module: nn.Module, data: dict[str, np.ndarray]) -> float:
    """Return the share of right answers."""
    module.eval()
    with torch.inference_mode():
        answers = [module(part).argmax(1) for part in torch.from_numpy(data["image"]).split(256)]
    return float((torch.cat(answers).numpy() == data["y"]).mean())


def main() -> None:
    """Train, print the accuracy on validation, and write the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, train = build(), load("shifted")
    fit(module, torch.from_numpy(train["image"]), torch.from_numpy(train["y"]))
    print(f"accuracy on validation: {accuracy(module, load('validation')):.2%}")
    save_file(module.state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
