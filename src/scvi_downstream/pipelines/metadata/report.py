"""Metadata in the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import constant_within, unmatched_sentence
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.metadata.designs import (
    ANY,
    Design,
    SampleColumn,
    Samples,
    make_design,
    pairing_column,
)
from scvi_downstream.pipelines.metadata.expression import ALL
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.words import listed

SECTION = Section(
    "Metadata",
    "What the study's annotations of samples and cells go together with; samples, not cells, are the replicates.",
    (
        Item(
            dataset="metadata_columns",
            caption="The annotations: what each was taken for, and how it is tested.",
            file=OUTPUT + "metadata_columns.csv",
        ),
        Item(dataset="metadata_figure", caption="Annotations on the UMAP of the primary model."),
        Item(
            dataset="metadata_associations_figure",
            caption="How far each latent dimension follows each annotation.",
        ),
        Item(
            dataset="metadata_associations",
            caption="Tests of latent dimensions against annotations.",
            file=OUTPUT + "metadata_associations.csv",
            groups=("covariate",),
            folded=True,
        ),
        Item(
            dataset="composition_figure",
            caption="Share of each group in every sample. Shares sum to one: when one rises, others fall.",
        ),
        Item(
            dataset="composition_tests",
            caption="Tests of the groups' shares with samples as replicates, the smallest p-value first.",
            file=OUTPUT + "composition_tests.csv",
            groups=("column", "contrast"),
        ),
        Item(
            dataset="composition",
            caption="Cells of every group in every sample.",
            file=OUTPUT + "composition.csv",
            folded=True,
        ),
        Item(
            dataset="metadata_genes_figure",
            caption="Genes that go together with annotations, over all cells and within groups.",
        ),
        Item(
            dataset="metadata_genes",
            caption="Genes of each annotation and group, the smallest p-value first.",
            file=OUTPUT + "metadata_genes.parquet",
            groups=("column", "contrast", "group"),
            columns=names(
                "column contrast group symbol unit n effect ci_lower ci_upper p p_adjusted mean_expression"
            ),
            folded=True,
        ),
        Item(
            dataset="metadata_summary",
            caption="Numbers of significant dimensions, groups and genes.",
            file=OUTPUT + "metadata_summary.json",
            folded=True,
        ),
        Item(
            dataset="metadata_join",
            caption="How the metadata table was joined, and what found no partner.",
            file=OUTPUT + "metadata_join.json",
            folded=True,
        ),
    ),
)


def units_of(annotations: pd.DataFrame, samples: Samples | None) -> pd.Series:
    """``sample`` for annotations that are constant within samples, else ``cell``."""
    return pd.Series(
        {
            name: "sample" if samples is not None and constant_within(values, samples.of_cell) else "cell"
            for name, values in annotations.items()
        },
        dtype=object,
    )


def how_tested(
    obs: pd.DataFrame,
    annotations: pd.DataFrame,
    samples: Samples | None,
    columns: dict[str, SampleColumn],
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> dict[str, str]:
    """By annotation: on how many samples it is tested, or why it is not, and what to be careful about.

    Parameters
    ----------
    obs
        One row a cell.
    annotations
        Those that are analysed.
    samples
        The replicates, or ``None``.
    columns
        Annotations that are constant within samples.
    keys
        Name the condition.
    options
        Least samples of a category.
    """
    if samples is None:
        return dict.fromkeys(annotations, "tested on cells, as sample_key is not set")
    notes = {}
    for name in annotations:
        if name in (samples.block_name, samples.name, keys.sample_key):
            notes[name] = "not tested: it names the samples or their blocks"
        elif name not in columns:
            notes[name] = "differs between cells of a sample: correlated with expression within samples"
        else:
            parts = [_tested(columns[name], samples, options), _twin(name, columns)]
            if name == keys.condition_key and samples.block is None:
                parts.append(_pairs(obs, samples, columns[name]))
            notes[name] = "; ".join(filter(None, parts))
    return notes


def _tested(column: SampleColumn, samples: Samples, options: MetadataAnalysisOptions) -> str:
    design = make_design(column.values, column.blocks, options.min_samples_per_group)
    if not isinstance(design, Design):
        return f"not tested: {design}"
    units = f"{len(design.units)} {column.unit}s"
    if column.unit == "block":
        return f"tested on {units} ('{samples.block_name}'), within which it is constant"
    within = f", within {design.n_blocks} blocks of '{samples.block_name}'" if design.n_blocks else ""
    return f"tested on {units}{within}"


def _twin(name: str, columns: dict[str, SampleColumn]) -> str:
    """Another annotation that divides the samples in the same way, so that the two cannot be told apart."""
    mine = columns[name].values
    for other, column in columns.items():
        theirs = column.values
        if other == name or not mine.index.equals(theirs.index) or mine.nunique() != theirs.nunique():
            continue
        pairs = np.column_stack([pd.factorize(mine)[0], pd.factorize(theirs)[0]])
        if len(np.unique(pairs, axis=0)) == mine.nunique():
            return f"divides the samples exactly as '{other}' does: their effects cannot be told apart"
    return ""


def _pairs(obs: pd.DataFrame, samples: Samples, column: SampleColumn) -> str:
    found = pairing_column(obs, samples, column.values)
    return (
        f"each '{found}' has samples of every value: metadata_analysis.block_key={found} compares within them"
        if found
        else ""
    )


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
        _pairs_of(columns),
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


def _pairs_of(columns: pd.DataFrame) -> str:
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


def describe_metadata(study: Any, keys: Keys, graph: Study) -> str:
    """How annotations of samples and cells were tested."""
    if "metadata" not in graph.analyses:
        return ""
    tests = _on_samples(study, keys) if keys.sample_key else _on_cells()
    return f"{_analysed(study, keys)} {tests}"


def _analysed(study: Any, keys: Keys) -> str:
    options = study.metadata_analysis
    if options.columns is not None:
        return f"{listed([f'`{name}`' for name in options.columns])} were analysed as annotations."
    named = [f"`{name}`" for name in (keys.condition_key, *keys.categorical_covariates) if name]
    named += [f"`{name}`" for name in keys.continuous_covariates]
    table = ["the columns of the study's metadata table"] if study.metadata else []
    subject = listed(table + list(dict.fromkeys(named)))
    verb = "was" if len(table + named) == 1 and not table else "were"
    return f"{subject[0].upper()}{subject[1:]} {verb} analysed as annotation{'s' if verb == 'were' else ''}."


def _on_samples(study: Any, keys: Keys) -> str:
    options = study.metadata_analysis
    groups = f"`{options.groups or keys.label_key or 'leiden'}`"
    blocked = (
        f" and of `{options.block_key}` as block (annotations that are constant within blocks were tested on blocks)"
        if options.block_key
        else ""
    )
    return (
        f"Annotations that are constant within samples (`{keys.sample_key}`; where a sample holds several "
        "conditions, its cells of each condition are a sample and the samples are blocks) were tested with samples "
        f"as replicates, at least {options.min_samples_per_group} a category and {options.min_cells_per_sample} cells "
        "a sample. Latent dimensions were compared by the Kruskal-Wallis test (categories) or Spearman's correlation "
        f"(numbers) of the samples' means, with p-values adjusted over the tests of one unit (cells, samples or "
        f"blocks). Composition by {groups}: the log-odds of each group's share were fitted by linear models of the "
        f"annotation{blocked}, with variances moderated by empirical Bayes [@smyth2004] as in "
        "propeller [@phipson2022], and with at most half of (groups − 1) times the residual degrees of freedom, as "
        "shares sum to one. Expression: counts were summed by sample [@squair2021], over all cells and within each of "
        f"{groups}, filtered as in edgeR [@chen2016], normalised by trimmed means of M-values [@robinson2010], and "
        "their log2 counts per million fitted by the same models, the prior variance following mean expression "
        "(limma-trend [@law2014]). Annotations that differ within samples were correlated with the log-normalised "
        "expression of the modelled genes within samples: by Spearman's correlation of ranks within samples, its "
        "p-value from the variance over permutations within samples. P-values of "
        f"composition and expression were adjusted by annotation, contrast and group "
        f"[@benjamini1995], at an FDR of {options.fdr:g}."
    )


def _on_cells() -> str:
    return (
        "As no samples were named, annotations were compared on cells, which are not independent replicates, so "
        "the p-values only rank: latent dimensions by the Kruskal-Wallis test (categories) or Spearman's "
        "correlation (numbers), log-normalised expression of the modelled genes by Spearman's correlation, with "
        "Benjamini-Hochberg correction [@benjamini1995]. Composition was tabulated and not tested."
    )
