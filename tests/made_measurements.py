"""Measurements, syntheses and simulations as boards, Vivado and Verilator give them, made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from boards.measurement import Design, GoldenCheck, Measurement, Simulation, Synthesis, Throughput, Used

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made_design(**changed: Any) -> Design:
    return Design(
        **{
            "model": "tfc",
            "policy": {"fc0": {"weight": 2, "act": 2}, "fc1": {"weight": 2, "act": None}},
            "folding": {"MVAU_hls_0": {"PE": 4, "SIMD": 16}},
            "estimate": None,
            "cycles": {"MVAU_hls_0": 10_000},
            **changed,
        }
    )


def made_measurement(**changed: Any) -> Measurement:
    return Measurement(
        **{
            "at": AT,
            "simulated": True,
            "host": "simulated",
            "board": "pynq-z2",
            "name": "tfc-pynq-z2",
            "package": "0" * 64,
            "plan": "0123456789abcdef",
            "policy_digest": "abcdef",
            "design": made_design(),
            "clock_mhz": 100.0,
            "clock_readback_mhz": 100.0,
            "image": "simulated (pynq 3.1.2)",
            "pynq": "3.1.2",
            "python": "3.11.7",
            "driver": {"finn-plus-driver": "1.6.1"},
            "golden": GoldenCheck(n_images=5, n_wrong=0, largest_difference=0.0),
            "latency_ms": 0.3,
            "throughput": tuple(
                Throughput(batch_size=n, fps=fps, median_ms=1e3 * n / fps, fastest_ms=990 * n / fps)
                for n, fps in ((1, 3_000.0), (1000, 9_000.0))
            ),
            "driver_report": {},
            "counters": None,
            "power": None,
            "power_note": "no sensor",
            "test": None,
            "raw": {},
            **changed,
        }
    )


def made_synthesis(**changed: Any) -> Synthesis:
    used = Used(lut=20_000.0, ff=21_000.0, bram18=30.0, dsp=0.0)
    return Synthesis(
        **{
            "at": AT,
            "board": "pynq-z2",
            "name": "tfc-pynq-z2",
            "plan": "0123456789abcdef",
            "policy_digest": "abcdef",
            "design": made_design(),
            "clock_mhz": 100.0,
            "vivado": "2024.2",
            "system": used,
            "nodes": {"MVAU_hls_0": used},
            "fmax_mhz": 120.0,
            "power_w": None,
            **changed,
        }
    )


def made_simulation(**changed: Any) -> Simulation:
    return Simulation(
        **{
            "at": AT,
            "board": "pynq-z2",
            "name": "tfc-pynq-z2",
            "plan": "0123456789abcdef",
            "network": "0123456789abcdef",
            "policy_digest": "abcdef",
            "design": made_design(),
            "clock_mhz": 100.0,
            "fifos": "estimated",
            "fifo_depths": {},
            "n_frames": 8,
            "interval_cycles": 11_000,
            "is_steady": True,
            "latency_cycles": 9_000,
            "nodes": {"MVAU_hls_0": {"busy": 1.0, "stalled": 0.0, "starved": 0.0, "cycles": 10_000}},
            "fifo_use": {"StreamingFIFO_rtl_0": {"behind": "", "depth": 32, "most": 3}},
            "versions": {"verilator": "5.48"},
            "duration_s": 1.0,
            "cycles": 100_000,
            **changed,
        }
    )
