"""Metadata in the report: its section, and what goes together with what in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import unmatched_sentence
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.metadata.expression import ALL
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import count
from scvi_downstream.statistics.designs import ANY

SECTION = Section(
    "Metadata",
    "What the study's annotations of samples and cells go together with; samples, not cells, are the replicates.",
    (
        result("metadata_columns.csv", "The annotations: what each was taken for, and how it is tested."),
        Item("metadata_figure", "Annotations on the UMAP of the primary model."),
        Item("metadata_associations_figure", "How far each latent dimension follows each annotation."),
        result(
            "metadata_associations.csv",
            "Tests of latent dimensions against annotations.",
            groups=("covariate",),
            folded=True,
        ),
        Item(
            "composition_figure",
            "Share of each group in every sample. Shares sum to one: when one rises, others fall.",
        ),
        result(
            "composition_tests.csv",
            "Tests of the groups' shares with samples as replicates, the smallest p-value first.",
            groups=("column", "contrast"),
        ),
        result("composition.csv", "Cells of every group in every sample.", folded=True),
        Item(
            "metadata_genes_figure",
            "Genes that go together with annotations, over all cells and within groups.",
        ),
        result(
            "metadata_genes.parquet",
            "Genes of each annotation and group, the smallest p-value first.",
            groups=("column", "contrast", "group"),
            columns=names(
                "column contrast group symbol unit n effect ci_lower ci_upper p p_adjusted mean_expression"
            ),
            folded=True,
        ),
        result("metadata_summary.json", "Numbers of significant dimensions, groups and genes.", folded=True),
        result(
            "metadata_join.json", "How the metadata table was joined, and what found no partner.", folded=True
        ),
    ),
)


N_GENES_NAMED, N_SHARES_NAMED = 8, 4
MOST_COLUMNS, MOST_NAMED = 3, 10
"""Annotations that have a sentence of their own, and that are named in a list."""
NOT_ANALYSED = "not analysed: "


def summarize_metadata(
    columns: pd.DataFrame,
    join: dict[str, Any],
    associations: pd.DataFrame,
    composition: pd.DataFrame,
    genes: pd.DataFrame,
    keys: Replicates,
    options: MetadataAnalysisOptions,
) -> dict[str, Any]:
    """Counts of what is significant at the FDR, and sentences.

    Parameters
    ----------
    columns, join
        One row an annotation, with its note; facts of the join, empty without a table.
    associations, composition, genes
        Tables of tests.
    keys, options
        Sample key and FDR.
    """
    notes = columns.set_index(columns["column"].astype(str))["note"].fillna("").astype(str)
    names = list(notes.index[~notes.str.startswith(NOT_ANALYSED)])
    called = {
        "n_dimensions": _significant(associations, options)["covariate"],
        "n_groups": _significant(_overall(composition), options)["column"],
        "n_genes": _significant(_overall(genes[genes["group"] == ALL]), options)["column"],
    }
    counted = {what: found.astype(str).value_counts() for what, found in called.items()}
    by_column = {name: {what: int(count.get(name, 0)) for what, count in counted.items()} for name in names}
    sentences = [
        *_about_expression(names, by_column, genes, options),
        _about_composition(composition, notes[names], keys, options),
        _about_embedding(associations, options),
        _about_join(join),
        _about_columns_left_out(notes),
    ]
    return {
        "n_columns": len(columns),
        "n_analysed": len(names),
        "join": {key: value for key, value in join.items() if isinstance(value, int)},
        "columns": by_column,
        "sentences": list(filter(None, sentences)),
    }


def _significant(tests: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    return tests[tests["p_adjusted"].astype(float) <= options.fdr]


def _overall(tests: pd.DataFrame) -> pd.DataFrame:
    """Of every annotation any difference, if that was tested; otherwise its only contrast.

    Of categories each compared with the rest, which have neither, the first by name.
    """
    columns, contrasts = tests["column"].astype(str), tests["contrast"].astype(str)
    overall = {
        name: ANY if ANY in set(of_column) else min(of_column)
        for name, of_column in contrasts.groupby(columns)
    }
    return tests[contrasts == columns.map(overall)]


def _about_expression(
    names: list[str], by_column: dict[str, Any], genes: pd.DataFrame, options: MetadataAnalysisOptions
) -> list[str]:
    """The annotation with the most genes, those on samples first; then the others; then those without any."""
    on_cells = set(genes.loc[genes["unit"] == "cell", "column"].astype(str))
    all_tested = set(genes["column"].astype(str))
    tested = [name for name in names if name in all_tested]
    tested.sort(key=lambda name: (name in on_cells, -by_column[name]["n_genes"]))
    found = [name for name in tested if by_column[name]["n_genes"]]
    without = [name for name in tested if name not in found] if found else tested[MOST_COLUMNS:]
    untested = [name for name in names if name not in all_tested]
    sentences = [_about_genes(name, genes, options) for name in (found or tested)[:MOST_COLUMNS]]
    others = sentences[1:]
    if without:
        others.append(f"No gene goes with {', '.join(without[:MOST_NAMED])} over all cells.")
    if untested:
        others.append(f"Not tested on expression: {', '.join(untested[:MOST_NAMED])}.")
    return [*sentences[:1], " ".join(others)]


def _about_genes(name: str, genes: pd.DataFrame, options: MetadataAnalysisOptions) -> str:
    tests = _overall(genes[genes["column"].astype(str) == name])
    of_all = tests[tests["group"] == ALL]
    if of_all.empty:
        return f"{name} was tested within groups only: there are too few samples of all cells."
    found = _significant(of_all, options)
    first = of_all.iloc[0]
    unit, n_units = str(first["unit"]), int(first["n"])
    blocks = f" in {int(first['n_blocks'])} blocks" if first["n_blocks"] else ""
    led = f", led by {', '.join(found['symbol'].astype(str).head(N_GENES_NAMED))}" if len(found) else ""
    by_group = _significant(tests[tests["group"] != ALL], options)["group"].astype(str).value_counts()
    within = f"; within groups most in '{by_group.index[0]}' ({by_group.iloc[0]:,})" if len(by_group) else ""
    on_cells = "; cells are not independent replicates, so these p-values only rank"
    return (
        f"{name} ({first['contrast']}, {n_units:,} {unit}s{blocks}): {len(found):,} of {len(of_all):,} genes go "
        f"with it at an FDR of {options.fdr:g}{led}{within}{on_cells if unit == 'cell' else ''}."
    )


def _about_composition(
    composition: pd.DataFrame, notes: pd.Series, keys: Keys, options: MetadataAnalysisOptions
) -> str:
    if composition.empty and keys.sample_key is None:
        return (
            "Composition was not tested, since sample_key is not set: cells of one sample are not replicates, "
            "so there is only the table of shares."
        )
    if composition.empty:
        reasons = "; ".join(f"{name}: {note}" for name, note in notes.head(MOST_COLUMNS).items())
        return f"Composition was not tested: no annotation has enough samples ({reasons})."
    tested = _overall(composition)
    found = _significant(tested, options)
    what = f"none of {len(tested)} shares of groups goes with an annotation"
    if len(found):
        rows = found.head(N_SHARES_NAMED).itertuples()
        named = ", ".join(f"'{row.group}' with {row.column} ({_change_of_share(row)})" for row in rows)
        what = f"{len(found)} of {len(tested)} shares of groups go with an annotation: {named}"
    return (
        f"Composition, with samples as replicates, at an FDR of {options.fdr:g}: {what}; shares sum to one, so one "
        "group's change moves the others too."
    )


def _change_of_share(row: Any) -> str:
    if pd.notna(row.proportion_reference):
        return f"{row.proportion_reference:.1%} → {row.proportion:.1%}"
    return f"log-odds {row.effect:+.2g} per unit" if pd.notna(row.effect) else str(row.contrast)


def _about_embedding(associations: pd.DataFrame, options: MetadataAnalysisOptions) -> str:
    if associations.empty:
        return ""
    found = _significant(associations, options)
    if found.empty:
        return f"No latent dimension follows an annotation at an FDR of {options.fdr:g}."
    best = found.loc[found["effect"].idxmax()]
    measure = "|ρ|" if best["kind"] == "continuous" else "η²"
    return (
        f"{found['dimension'].nunique()} of {associations['dimension'].nunique()} latent dimensions follow an "
        f"annotation at an FDR of {options.fdr:g}, most of all {best['dimension']} {best['covariate']} "
        f"({measure} {best['effect']:.2f} over {int(best['n']):,} {best['unit']}s)."
    )


def _about_join(join: dict[str, Any]) -> str:
    if not join:
        return ""
    unmatched = unmatched_sentence(join)
    matched = f"{join['n_cells_matched']:,} cells have a row in the metadata (joined on '{join['key']}')"
    return f"{matched}; {unmatched}." if unmatched else f"All {matched}."


def _about_columns_left_out(notes: pd.Series) -> str:
    left = notes[notes.str.startswith(NOT_ANALYSED)]
    if left.empty:
        return ""
    named = ", ".join(f"'{name}' ({note.removeprefix(NOT_ANALYSED)})" for name, note in left.head(5).items())
    return f"{len(left)} of {len(notes)} columns were not analysed: {named}."


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """The annotation that most genes go with, and how many."""
    summary = contents.get("metadata_summary")
    if not summary or not summary["columns"]:
        return None
    columns = summary["columns"]
    name = max(columns, key=lambda column: (columns[column]["n_genes"], columns[column]["n_groups"]))
    genes, groups = columns[name]["n_genes"], columns[name]["n_groups"]
    text = f"{count(genes, 'gene')} and the share of {count(groups, 'group')} go with {name}"
    if not genes and not groups:
        text = f"No gene and no group goes with any of {count(len(columns), 'annotation')}"
    on_samples = bool(study.keys.sample_key)
    return Headline(
        text if on_samples else f"{text}; tested on cells", Trust.HOLDS if on_samples else Trust.UNCERTAIN
    )
