"""Whether a benchmark is of a GPU: with large models where there is one, small ones on the CPU.

`--rehearse` takes the way of a GPU on the CPU, with tiny models of the same kinds: it gives no
figure, but shows that the way is not blocked before an accelerator is at hand.
"""

import time

import torch

rehearsed = False


def large() -> bool:
    """Whether the way of a GPU is taken."""
    return rehearsed or torch.cuda.is_available()


def name() -> str:
    """Name of the device, in PyTorch's words."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision() -> str:
    """Numbers that pretrained models compute in."""
    return "bfloat16" if large() else "float32"


def seconds() -> float:
    """The clock of a GPU's speed; on the CPU seconds of the processor, which others may use too."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def wait() -> None:
    """Waits for what a GPU has still to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
