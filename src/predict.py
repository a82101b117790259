"""A network over a pack: each picture once, in the order of the file.

N pictures, C classes, H height, W width in pixels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from src.batch import unit_range
from src.losses import Base


@torch.inference_mode()
def predict_logits(model: nn.Module, pack: np.ndarray, batch_size: int, device: torch.device) -> Tensor:
    """Logits (N, C) float32, on the CPU, of a pack uint8 (N, H, W, 3); puts the network in eval mode."""
    model.eval()
    logits = []
    for start in range(0, len(pack), batch_size):
        images = torch.from_numpy(np.array(pack[start : start + batch_size])).permute(0, 3, 1, 2).to(device)
        logits.append(model(unit_range(images)).float().cpu())
    return torch.cat(logits)


def predict_probs(
    model: nn.Module, pack: np.ndarray, base: Base, batch_size: int, device: torch.device
) -> np.ndarray:
    """Probabilities (N, C) float64 of a pack uint8 (N, H, W, 3), read from the logits as `base` says."""
    return base.probs(predict_logits(model, pack, batch_size, device).double()).numpy()
