"""The demo model's latent: a tight linear frame of RGB, exactly invertible, nothing to train.

z = 2 * (M (2 rgb - 1) - mu), four channels of standard deviation about 0.9. M has orthogonal columns (M^T M = 4/3),
so rgb = 0.5 + 0.375 M^T (z / 2 + mu). `gsn_ops/host/demo/sd.py` writes the same numbers into a stock TAESD.
"""

import torch

FRAME = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
MU = torch.tensor([0.92, -0.3, -0.3, -0.3])


def rgb_to_latent(rgb: torch.Tensor) -> torch.Tensor:
    """RGB [n, h, w, 3] in [0, 1] -> latent [n, 4, h, w]."""
    return (2 * ((2 * rgb - 1) @ FRAME.T - MU)).movedim(-1, 1)


def latent_to_rgb(latent: torch.Tensor) -> torch.Tensor:
    """Latent [n, 4, h, w] -> RGB [n, h, w, 3], not clamped."""
    return 0.5 + 0.375 * (latent.movedim(1, -1) / 2 + MU) @ FRAME
