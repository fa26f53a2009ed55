"""Draw the training logs of WORK as one SVG picture.

./distillery python -m distillery.tools.mini.curve WORK tools/mini/curve.svg
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

PANELS = (
    ("vae.csv", "autoencoder: PSNR of held-out pictures, dB", ("psnr",)),
    ("vae.csv", "autoencoder: colour shift of held-out pictures, Delta E", ("delta_e",)),
    ("plain.csv", "decoder once more: PSNR of held-out pictures, dB", ("psnr",)),
    ("sharp.csv", "decoder, sharp: high frequencies against the original", ("sharpness",)),
    ("unet.csv", "UNet: mean square error of the noise", ("loss", "eps_0.1", "eps_0.3", "eps_1", "eps_0.3_no_text")),
)
COLOURS = ("#888888", "#0b6e99", "#d1495b", "#66a182", "#edae49")
WIDTH, HEIGHT, MARGIN = 440, 230, 46


def panel(rows: list[dict[str, str]], title: str, columns: tuple[str, ...]) -> str:
    """One diagram, as SVG elements in a box of WIDTH x HEIGHT."""
    steps = [int(row["step"]) for row in rows]
    first = steps[0] if len(steps) > 1 else 0
    series = {column: [float(row[column]) for row in rows] for column in columns}
    every = sorted(value for values in series.values() for value in values)
    low, high = every[0], every[-1]
    high += (high == low) * 1e-6

    def place(step: float, value: float) -> str:
        x = MARGIN + (WIDTH - MARGIN - 12) * (step - first) / max(1, steps[-1] - first)
        return f"{x:.1f},{HEIGHT - 28 - (HEIGHT - 62) * (value - low) / (high - low):.1f}"

    parts = [f'<text x="{MARGIN}" y="18" font-weight="bold">{title}</text>']
    for value in (low, (low + high) / 2, high):
        x, y = place(first, value).split(",")
        parts.append(f'<line x1="{x}" x2="{WIDTH - 12}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{float(y) + 4}" text-anchor="end">{value:.3g}</text>')
    parts.append(f'<text x="{WIDTH - 12}" y="{HEIGHT - 8}" text-anchor="end">step {first} to {steps[-1]}</text>')
    for i, (column, values) in enumerate(series.items()):
        colour = COLOURS[(i + (len(series) == 1)) % len(COLOURS)]
        points = " ".join(place(step, value) for step, value in zip(steps, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(series) > 1:
            parts.append(f'<text x="{WIDTH - 130}" y="{40 + 15 * i}" fill="{colour}">{column}</text>')
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    drawn: list[str] = []
    for name, title, columns in PANELS:
        if (arguments.work / name).is_file():
            with (arguments.work / name).open(newline="") as file:
                rows = list(csv.DictReader(file))
            # Logs of runs that measured less are drawn where they have the figure.
            rows = [row for row in rows if all(row.get(column) for column in columns)]
            if rows:
                x, y = len(drawn) % 2 * WIDTH, len(drawn) // 2 * HEIGHT
                drawn.append(f'<g transform="translate({x},{y})">\n{panel(rows, title, columns)}\n</g>')
    height = (len(drawn) + 1) // 2 * HEIGHT
    body = "\n".join(drawn)
    arguments.out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
