"""Writes the tables that seaborn.load_dataset() finds offline: python3 seaborn_data.py DIRECTORY

seaborn would fetch them from the web; plotly's package carries two of the same tables.
"""

import pathlib
import sys

import plotly.data

# Columns as in seaborn's own copies, and the shape that proves it is the same table.
TABLES = {
    "tips": (["total_bill", "tip", "sex", "smoker", "day", "time", "size"], (244, 7)),
    "iris": (
        ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"],
        (150, 5),
    ),
}


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True)
    for name, (columns, shape) in TABLES.items():
        table = getattr(plotly.data, name)()[columns]
        if table.shape != shape:
            sys.exit(f"plotly's table {name!r} has the shape {table.shape}, not {shape}")
        table.to_csv(directory / f"{name}.csv", index=False)


if __name__ == "__main__":
    main()
