"""Makes docs/gallery.md of figures of finished runs: `python benchmarks/gallery.py DATA_ROOT`.

The runs are those of the pages that start from what one has: studies pbmc3k, kang_ifnb, citeseq_pbmc, worm_embryo and query.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

from PIL import Image

from scvi_downstream.plots.canvas import lighter

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH, HEIGHT = 760, 620
FIGURES = (
    ("kang_ifnb", "leaderboard", "Models and baselines on one board, with intervals and the champion"),
    ("kang_ifnb", "scvi/clustering", "Which resolution halves of the cells agree on"),
    ("pbmc3k", "markers_dotplot", "Markers of each cluster"),
    ("kang_ifnb", "volcano", "Effect and evidence of each gene, between conditions"),
    ("kang_ifnb", "batch_effects", "Whether the batch can be told, before and after, against a null"),
    ("kang_ifnb", "confusion", "Labels of held-out cells, by four methods"),
    ("kang_ifnb", "sample_map", "Samples by their distances, pairs joined"),
    ("kang_ifnb", "sample_expression", "What a condition changes in which cells, checked on sums by sample"),
    ("citeseq_pbmc", "protein_imputation", "Hidden proteins, imputed and measured"),
    ("worm_embryo", "trajectory", "Pseudotime by each method, with what it has learnt"),
    ("worm_embryo", "trend_heatmap", "Genes along pseudotime, in the order of their peaks"),
    ("query", "mapping", "Cells mapped onto an atlas, and those unlike it"),
    ("pbmc3k", "predictive_moments", "Counts that the model generates, beside those observed"),
)


def shrink(png: bytes) -> bytes:
    """The picture as large as a cell of the table."""
    picture, content = Image.open(BytesIO(png)).convert("RGB"), BytesIO()
    picture.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    picture.save(content, "png")
    return lighter(content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="data_root of the runs")
    data = parser.parse_args().data
    folder = DOCS / "images" / "gallery"
    folder.mkdir(exist_ok=True)
    cells = []
    for study, name, says in FIGURES:
        source = data / "08_reporting" / study / f"{name}.png"
        target = folder / f"{name.replace('/', '_')}.png"
        target.write_bytes(shrink(source.read_bytes()))
        print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")
        cells.append(f"![{says}](images/gallery/{target.name})<br>{says} (`{name}`, {study})")
    rows = [" | ".join(cells[i : i + 2]) for i in range(0, len(cells), 2)]
    head = "# Gallery\n\nFigures of real runs, as every run makes them: PNG, SVG of one or two columns, and CSV.\n\n"
    table = "\n".join(f"| {row} |" if " | " in row else f"| {row} | |" for row in rows)
    (DOCS / "gallery.md").write_text(f"{head}| | |\n|---|---|\n{table}\n")


if __name__ == "__main__":
    main()
