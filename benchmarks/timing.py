"""Times of several ways to do one thing, side by side."""

from __future__ import annotations

import ctypes
import gc
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Until the accelerator has done what it was told."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def in_turns(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round. All are called once to warm up, then all in every round, another one
    first each time: what slows the machine down slows all of them."""
    gc.collect()
    gc.freeze()  # looking through all that was imported takes a third of a second, in whosever turn it falls
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wait()
            start = time.perf_counter()
            candidates[name]()
            wait()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times as long theirs takes as ours: the median over rounds of the quotient, and its quartiles."""
    low, median, high = np.percentile(np.divide(theirs, ours), (25, 50, 75)).tolist()
    return {"median": round(median, 3), "low": round(low, 3), "high": round(high, 3)}


def in_own_process(module: str, *arguments: str):
    """What `python -m benchmarks.MODULE ARGUMENTS` prints last, as JSON. A process's peak of memory never falls again,
    so each measurement of it has a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def memory_of(work: Callable[[], object]) -> float:
    """By how many MB the memory in use peaks above what was in use before: of a GPU what is allocated on it, else the
    process's resident set (on Linux)."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the work is done in what imports and earlier work have left
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is in use now
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    """A line of the process's status, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 2**10


def peak_resident() -> float:
    """The process's largest resident set so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
