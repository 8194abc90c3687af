"""Telemetry of a race car that was never built: a function of the seed and of the time alone.

The car drives for 20 of every 30 minutes, lap after lap, and stands for the rest. All signals
follow from the throttle, so that they belong together: voltage sags with current, torque makes
current, temperatures rise while it drives. One row a second, on the full second.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

SESSION_S, DRIVE_S = 1800, 1200
CELLS_OHM = 0.09

Array = np.ndarray


def noise(seed: int, channel: int, times: Array) -> Array:
    """Between -1 and 1, for each second on its own: splitmix64 of seed, channel and time."""
    with np.errstate(over="ignore"):
        z = times.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64((seed * 1_000_003 + channel + 1) * 0xD1B54A32D192ED03 & (1 << 64) - 1)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


class Car:
    """What one seed makes of it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        draw = np.random.default_rng(seed).uniform
        self.lap_s = draw(62, 95)
        self.corners = [(draw(0.5, 1.0), n, draw(0, 2 * np.pi)) for n in (1, 2, 3, 5)]
        self.full_volts = draw(385, 402)
        self.top_amps = draw(150, 210)
        self.top_rpm = draw(4800, 5600)
        self.top_nm = draw(120, 180)
        self.ambient = draw(18, 31)
        self.modules = [draw(-1.5, 1.5) for _ in range(3)]

    def throttle(self, times: Array) -> Array:
        """0 to 1; 0 while the car stands."""
        at = times % SESSION_S
        phase = 2 * np.pi * at / self.lap_s
        wave = sum(size * np.sin(turn * phase + shift) for size, turn, shift in self.corners)
        wave = wave / sum(size for size, _, _ in self.corners)
        asked = np.clip(0.55 + 0.75 * wave + 0.05 * noise(self.seed, 0, times), 0, 1)
        return np.where(at < DRIVE_S, asked, 0.0)

    def warmth(self, times: Array, rise_s: float) -> Array:
        """0 to 1: up while it drives, down while it stands."""
        at = times % SESSION_S
        top = 1 - np.exp(-DRIVE_S / rise_s)
        return np.where(at < DRIVE_S, 1 - np.exp(-at / rise_s),
                        top * np.exp(-(at - DRIVE_S) / (rise_s / 3)))

    def signals(self, times: Array) -> dict[str, Array]:
        at, seed = times % SESSION_S, self.seed
        throttle = self.throttle(times)
        moves = at < DRIVE_S
        # The wheels answer half a second late, about.
        before = self.throttle(times - 1)
        speed = np.where(moves, self.top_rpm * (0.15 + 0.6 * throttle + 0.25 * before), 0.0)
        current = np.where(moves, self.top_amps * throttle, 1.2) + 1.5 * noise(seed, 1, times)
        used = np.where(moves, at / DRIVE_S, 1.0)
        open_volts = self.full_volts - 22 * used
        torque = self.top_nm * throttle * (1 - 0.25 * speed / self.top_rpm)
        cells = self.ambient + 16 * self.warmth(times, 700)
        values = {
            "INV_DC_Bus_Current": current,
            "INV_DC_Bus_Voltage": open_volts - CELLS_OHM * current + 0.4 * noise(seed, 2, times),
            "INV_Motor_Speed": speed + np.where(moves, 25 * noise(seed, 3, times), 0.0),
            "INV_Torque_Feedback": torque + np.where(moves, 2 * noise(seed, 4, times), 0.0),
            "VCU_INV_Torque_Command": torque,
            "INV_Motor_Temp": self.ambient + 48 * self.warmth(times, 420) + noise(seed, 5, times),
            "PackCurrent": current + 0.8 + 0.3 * noise(seed, 6, times),
            "PackVoltage": open_volts - CELLS_OHM * current,
            "SOC": 100 - 34 * used,
            "Throttle": 100 * throttle,
            "Brake_Percent": np.where(moves, 100 * np.clip(before - throttle, 0, 1), 0.0),
        }
        for number, offset in zip((1, 3, 5), self.modules):
            values[f"M{number}_Thermistor1"] = cells + offset + 0.2 * noise(seed, 6 + number, times)
        return {name: np.round(value, 3) for name, value in values.items()}


def table(seed: int, first_s: int, last_s: int) -> pa.Table:
    """Rows of [first_s, last_s), in seconds since 1970 UTC. Wide: a column for each signal."""
    times = np.arange(first_s, last_s, dtype=np.int64)
    columns = {"time": pa.array(times * 1_000_000_000, pa.timestamp("ns"))}
    columns |= {name: pa.array(value) for name, value in Car(seed).signals(times).items()}
    same = pa.array(["telemetry"]).take(pa.array(np.zeros(len(times), dtype=np.int32)))
    return pa.table(columns | {"messageName": same, "canId": same})
