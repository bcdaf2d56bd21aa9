"""What the metadata go together with, in numbers and sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.cell_metadata import unmatched_sentence
from scvi_downstream.parameters import Keys, MetadataAnalysisOptions
from scvi_downstream.pipelines.metadata.designs import ANY
from scvi_downstream.pipelines.metadata.expression import ALL

N_GENES_NAMED = 8
MOST_COLUMNS, MOST_NAMED = 3, 10


def summarize(
    columns: pd.DataFrame,
    join: dict[str, Any],
    associations: pd.DataFrame,
    composition: pd.DataFrame,
    genes: pd.DataFrame,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> dict[str, Any]:
    """Counts of what is significant at the FDR, and sentences.

    Parameters
    ----------
    columns
        One row an annotation, with its note.
    join
        Facts of the join, empty without a table.
    associations, composition, genes
        Tables of tests.
    keys, options
        Sample key and FDR.
    """
    names = [
        str(name)
        for name, note in zip(columns["column"], columns["note"].fillna(""), strict=True)
        if not str(note).startswith("not analysed")
    ]
    called = {
        "dimensions": _called(associations, options)["covariate"],
        "groups": _called(_overall(composition), options)["column"],
        "genes": _called(_overall(genes[genes["group"] == ALL]), options)["column"],
    }
    counted = {what: found.astype(str).value_counts() for what, found in called.items()}
    by_column = {
        name: {f"n_{what}": int(count.get(name, 0)) for what, count in counted.items()} for name in names
    }
    sentences = _expression_sentences(names, by_column, genes, options)
    sentences += [
        _pairs(columns),
        _composition(composition, names, columns, keys, options),
        _embedding(associations, options),
        _join(join),
        _not_analysed(columns),
    ]
    return {
        "n_columns": len(columns),
        "n_analysed": len(names),
        "join": {key: value for key, value in join.items() if isinstance(value, int)},
        "columns": by_column,
        "sentences": [sentence for sentence in sentences if sentence],
    }


def _called(table: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    return table[table["p_adjusted"].astype(float) <= options.fdr]


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    """Of every annotation any difference, if that was tested; otherwise its only contrast.

    Of categories each compared with the rest, which have neither, the first by name.
    """
    columns, contrasts = table["column"].astype(str), table["contrast"].astype(str)
    overall = {
        name: ANY if ANY in set(of_column) else min(of_column)
        for name, of_column in contrasts.groupby(columns)
    }
    return table[contrasts == columns.map(overall)]


def _expression_sentences(
    names: list[str], by_column: dict[str, Any], genes: pd.DataFrame, options: MetadataAnalysisOptions
) -> list[str]:
    """The annotation with the most genes, those on samples first; then the others; then those without any."""
    on_cells = set(genes.loc[genes["unit"] == "cell", "column"].astype(str))
    tested = [name for name in names if name in set(genes["column"].astype(str))]
    order = sorted(tested, key=lambda name: (name in on_cells, -by_column[name]["n_genes"]))
    found = [name for name in order if by_column[name]["n_genes"]]
    said = [_expression(name, genes, options) for name in (found or order)[:MOST_COLUMNS]]
    without = [name for name in order if not by_column[name]["n_genes"]] if found else order[MOST_COLUMNS:]
    more = f"No gene goes with {', '.join(without[:MOST_NAMED])} over all cells." if without else ""
    untested = [name for name in names if name not in tested]
    none = f"Not tested on expression: {', '.join(untested[:MOST_NAMED])}." if untested else ""
    return [*said[:1], " ".join(filter(None, [*said[1:], more, none]))]


def _pairs(columns: pd.DataFrame) -> str:
    """That samples could be compared within pairs, where the notes say so."""
    notes = columns["note"].fillna("").astype(str)
    found = [note for note in notes if "metadata_analysis.block_key=" in note]
    return f"Samples may be pairs: {found[0].split('; ')[-1]}." if found else ""


def _expression(name: str, genes: pd.DataFrame, options: MetadataAnalysisOptions) -> str:
    mine = _overall(genes[genes["column"].astype(str) == name])
    of_all = mine[mine["group"] == ALL]
    if of_all.empty:
        return f"{name} was tested within groups only: there are too few samples of all cells."
    found = of_all[of_all["p_adjusted"] <= options.fdr]
    first = of_all.iloc[0]
    unit, n = str(first["unit"]), int(first["n"])
    blocks = f" in {int(first['n_blocks'])} blocks" if first["n_blocks"] else ""
    caveat = ""
    if unit == "cell":
        caveat = "; cells are not independent replicates, so these p-values only rank"
    led = f", led by {', '.join(found['symbol'].astype(str).head(N_GENES_NAMED))}" if len(found) else ""
    elsewhere = mine[(mine["group"] != ALL) & (mine["p_adjusted"] <= options.fdr)]
    within = ""
    if len(elsewhere):
        counts = elsewhere["group"].astype(str).value_counts()
        within = f"; within groups most in '{counts.index[0]}' ({counts.iloc[0]:,})"
    return (
        f"{name} ({first['contrast']}, {n:,} {unit}s{blocks}): {len(found):,} of {len(of_all):,} genes go "
        f"with it at an FDR of {options.fdr:g}{led}{within}{caveat}."
    )


def _composition(
    composition: pd.DataFrame,
    names: list[str],
    columns: pd.DataFrame,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> str:
    if composition.empty:
        if keys.sample_key is None:
            return (
                "Composition was not tested, since sample_key is not set: cells of one sample are not replicates, "
                "so there is only the table of shares."
            )
        by_name = columns.set_index("column")["note"].fillna("")
        reasons = "; ".join(f"{name}: {by_name[name]}" for name in names[:MOST_COLUMNS])
        return f"Composition was not tested: no annotation has enough samples ({reasons})."
    tested = _overall(composition)
    found = tested[tested["p_adjusted"] <= options.fdr]
    said = ", ".join(
        f"'{row.group}' with {row.column} ({_change(row)})" for row in found.head(4).itertuples()
    )
    what = (
        f"{len(found)} of {len(tested)} shares of groups go with an annotation: {said}"
        if len(found)
        else f"none of {len(tested)} shares of groups goes with an annotation"
    )
    return (
        f"Composition, with samples as replicates, at an FDR of {options.fdr:g}: {what}; shares sum to one, so one "
        "group's change moves the others too."
    )


def _change(row: Any) -> str:
    if pd.notna(row.proportion_reference):
        return f"{row.proportion_reference:.1%} → {row.proportion:.1%}"
    return f"log-odds {row.effect:+.2g} per unit" if pd.notna(row.effect) else str(row.contrast)


def _embedding(associations: pd.DataFrame, options: MetadataAnalysisOptions) -> str:
    found = associations[associations["p_adjusted"] <= options.fdr]
    if associations.empty:
        return ""
    if found.empty:
        return f"No latent dimension follows an annotation at an FDR of {options.fdr:g}."
    best = found.loc[found["effect"].idxmax()]
    measure = "|ρ|" if best["kind"] == "continuous" else "η²"
    return (
        f"{found['dimension'].nunique()} of {associations['dimension'].nunique()} latent dimensions follow an "
        f"annotation at an FDR of {options.fdr:g}, most of all {best['dimension']} {best['covariate']} "
        f"({measure} {best['effect']:.2f} over {int(best['n']):,} {best['unit']}s)."
    )


def _join(join: dict[str, Any]) -> str:
    if not join:
        return ""
    unmatched = unmatched_sentence(join)
    matched = f"{join['n_cells_matched']:,} cells have a row in the metadata (joined on '{join['key']}')"
    return f"{matched}; {unmatched}." if unmatched else f"All {matched}."


def _not_analysed(columns: pd.DataFrame) -> str:
    notes = columns["note"].fillna("").astype(str)
    left = columns[notes.str.startswith("not analysed")]
    if left.empty:
        return ""
    named = ", ".join(
        f"'{name}' ({note.removeprefix('not analysed: ')})"
        for name, note in zip(left["column"].head(5), left["note"].head(5), strict=True)
    )
    return f"{len(left)} of {len(columns)} columns were not analysed: {named}."
