"""What the model stand-in writes: programs that do what was asked, and programs that fail."""

from __future__ import annotations

import re

AGAIN = "\n\nThe previous code generated had the following error:"

TELEMETRY = '''\
from datetime import datetime, timedelta, timezone

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import slicks

end = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
start = end - timedelta(minutes={minutes})
wanted = {signals!r}

names = slicks.discover_sensors(start, end, show_progress=False)
missing = [name for name in wanted if name not in names]
if missing:
    raise SystemExit(f"no such signals: {{missing}}; there are: {{', '.join(names[:40])}}")

data = slicks.fetch_telemetry(start, end, signals=wanted, filter_movement=False, resample="1s")
if data is None or data.empty:
    raise SystemExit(f"no data for {{wanted}} from {{start}} to {{end}}")
data = data[wanted].dropna()

figure, axis = plt.subplots(figsize=(10, 6))
{drawing}
axis.set_title({title!r})
axis.grid(True, alpha=0.3)
figure.tight_layout()
figure.savefig("{stem}.png", dpi=150)
plt.close(figure)
data.to_csv("{stem}.csv")

print(f"{{len(data)}} points from {{start}} to {{end}} UTC")
{words}
print("saved {stem}.png and {stem}.csv")
'''

SCATTER = '''\
axis.scatter(data[wanted[0]], data[wanted[1]], s=6, alpha=0.5)
axis.set_xlabel("{x}")
axis.set_ylabel("{y}")'''
CORRELATION = 'print(f"correlation {data[wanted[0]].corr(data[wanted[1]]):.3f}")'

LINES = '''\
for name in wanted:
    axis.plot(data.index, data[name], linewidth=0.8, label=name)
axis.set_xlabel("time (UTC)")
axis.set_ylabel("{y}")
axis.legend()'''
RANGES = '''\
for name in wanted:
    print(f"{name}: {data[name].min():.1f} to {data[name].max():.1f}")'''

# The words that a prompt must hold; signals; title; name of the files; axes, x being None for time.
QUESTIONS = [
    (("voltage", "current", "inverter"), ["INV_DC_Bus_Current", "INV_DC_Bus_Voltage"],
     "Inverter voltage over current", "inverter_voltage_current", ("current [A]", "voltage [V]")),
    (("battery", "temperature"), ["M1_Thermistor1", "M3_Thermistor1", "M5_Thermistor1"],
     "Battery temperature", "battery_temperature", (None, "temperature [°C]")),
    (("motor", "torque"), ["INV_Motor_Speed", "INV_Torque_Feedback"],
     "Motor speed and torque", "motor_torque", ("speed [rpm]", "torque [Nm]")),
]

RANDOM = '''\
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

rng = np.random.default_rng(1)
voltage = rng.normal(400, 5, 300)
current = 0.4 * (voltage - 390) + rng.normal(0, 1, 300)

figure, axis = plt.subplots(figsize=(8, 6))
axis.scatter(voltage, current, s=12, alpha=0.6)
axis.set_xlabel("voltage [V]")
axis.set_ylabel("current [A]")
axis.set_title("Current over voltage, random data")
figure.savefig("output.png", dpi=150)
print("Data plotted successfully")
'''

# Each ends with an error of another kind, so that no two are the same however they are normalised.
FAILURES = [
    'import pandas as pd\n\ndf = pd.DataFrame({"value": [1, 2, 3]})\nprint(df["time"])\n',
    'rows = open("/data/telemetry.csv").read()\nprint(len(rows))\n',
    'limit = int("four hundred volts")\nprint(limit)\n',
    'samples = []\nprint(sum(samples) / len(samples))\n',
    'import telemetry_toolbox\n\ntelemetry_toolbox.plot()\n',
    'samples = None\nprint(samples.mean())\n',
]


def span_minutes(prompt: str) -> int:
    found = re.search(r"last\s+(\d+)?\s*(minute|hour|day)", prompt, re.I)
    if not found:
        return 60
    return int(found[1] or 1) * {"minute": 1, "hour": 60, "day": 1440}[found[2].lower()]


def good(prompt: str) -> str:
    """A program that works and does what the prompt says, as far as its words are known."""
    words = prompt.lower()
    for keys, signals, title, stem, (x, y) in QUESTIONS:
        if all(key in words for key in keys) and "random" not in words:
            drawing = SCATTER.format(x=x, y=y) if x else LINES.format(y=y)
            return TELEMETRY.format(
                minutes=span_minutes(prompt), signals=signals, title=title, stem=stem,
                drawing=drawing, words=CORRELATION if x else RANGES)
    if re.search(r"plot|chart|graph|draw|visuali", words):
        return RANDOM
    return f"print({'Done: ' + prompt.strip()[:200]!r})\n"


def failing(number: int) -> str:
    return FAILURES[number % len(FAILURES)]


def same_error(number: int) -> str:
    """Another program each time, and always the same error."""
    return f'attempt = {number}\nraise ValueError("there is no such signal")\n'


def original(prompt: str) -> str:
    """What the user had asked, out of a prompt that may ask to fix an error."""
    return prompt.split(AGAIN)[0]


def is_again(prompt: str) -> bool:
    return AGAIN in prompt
