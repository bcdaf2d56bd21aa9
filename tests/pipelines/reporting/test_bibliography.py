import re

import pytest

from scvi_downstream.report import bibliography


def test_every_entry_is_complete():
    references = bibliography.all_references()
    source = "".join(reference.source for reference in references.values())
    assert source.count("@") == len(references) > 25
    for key, reference in references.items():
        assert {"author", "title", "year"} <= set(reference.fields), key
        assert reference.link.startswith("https://"), key
        assert not re.search(r"[{}\\]", reference.authors + reference.title + reference.published), key
        if key[-4:].isdigit():
            assert reference.fields["year"] == key[-4:], key


def test_dois_are_unique_and_well_formed():
    dois = [
        reference.fields["doi"]
        for reference in bibliography.all_references().values()
        if "doi" in reference.fields
    ]
    assert len(dois) == len(set(dois))
    assert all(re.fullmatch(r"10\.\d{4,5}/\S+", doi) for doi in dois)


def test_accents_are_unicode():
    references = bibliography.all_references()
    assert references["buttner2019"].authors.startswith("Büttner M")
    assert references["lopez2018"].authors == "Lopez R, Regier J, Cole MB, Jordan MI, Yosef N"
    assert references["gayoso2022"].authors == "Gayoso A, Lopez R, Xing G, et al."


def test_only_cited_entries_in_order_of_mention():
    text = "UMAP [@mcinnes2018] of scVI [@lopez2018; @gayoso2022], again [@mcinnes2018]."
    assert bibliography.cited_keys(text) == ["mcinnes2018", "lopez2018", "gayoso2022"]
    chosen = bibliography.write_references(text)
    assert list(bibliography.parse(chosen)) == ["mcinnes2018", "lopez2018", "gayoso2022"]
    with pytest.raises(KeyError):
        bibliography.write_references("[@nobody1900]")


def test_citations_become_numbered_links():
    html = bibliography.linked_citations("a [@x; @y]", {"x": 1, "y": 2})
    assert re.findall(r'href="#ref-(\w+)">(\d)<', html) == [("x", "1"), ("y", "2")]
