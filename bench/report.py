"""What every benchmark prints: progress on stderr, one JSON line on stdout."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable


def progress(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        kilobytes = int(meminfo.readline().split()[1])
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(kilobytes / 1048576, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
    }


def finish(name: str, figures: dict[str, object], ratios: dict[str, float]) -> None:
    """The closing line. A ratio says how many times better than the peer: above 1 is better."""
    rounded = {key: round(value, 3) for key, value in ratios.items()}
    print(json.dumps({"name": name, "figures": figures, "ratios": rounded, "machine": machine()}))


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median_of(runs: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(runs))
