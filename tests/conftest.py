"""What all tests share: one torch thread, and hypothesis without a clock or a random start."""

from __future__ import annotations

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("bitloop", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("bitloop")
