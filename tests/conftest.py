"""What all tests share: one torch thread, hypothesis without a clock or a random start, and signals that are heard."""

from __future__ import annotations

import signal

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("bitloop", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("bitloop")

# a shell that starts tests in the background, or nohup, has them ignore these, and so would what they start
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)
