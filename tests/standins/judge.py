"""Judges a plot and its points against the telemetry that they were made from, in packages that the
tests' own interpreter has not: python -m standins.judge PICTURE POINTS SEED SIGNAL..."""

from __future__ import annotations

import json
import sys

import pandas as pd
from PIL import Image

from standins import telemetry


def main(picture: str, points: str, seed: str, *signals: str) -> None:
    """Prints the picture's size and how many colours it has, and the rows that differ."""
    with Image.open(picture) as image:
        image.load()
        size, colours = image.size, len(image.convert("RGB").getcolors(1 << 24))
    frame = pd.read_csv(points, index_col=0, parse_dates=True)
    seconds = (frame.index - pd.Timestamp(0)) // pd.Timedelta("1s")
    first, last = int(seconds[0]), int(seconds[-1])
    rows = telemetry.table(int(seed), first, last + 1).to_pandas()
    wanted = pd.DataFrame({name: rows[name].to_numpy() for name in signals},
                          index=seconds[:0].union(range(first, last + 1)))
    differ = (frame[list(signals)].set_axis(seconds) - wanted).abs().max(axis=1) > 1e-9
    print(json.dumps({"size": size, "colours": colours, "points": len(frame), "rows": len(wanted),
                      "differ": int(differ.sum()), "columns": list(frame.columns),
                      "same": bool((seconds == wanted.index).all())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
