"""Sphinx extension: the bibliography names its entries as the text does, and each address once."""

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.template import first_of, optional, sentence


def last_name(person) -> str:
    """With what stands before it: van Laarhoven."""
    return " ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names]))


class NamesAndYear(BaseLabelStyle):
    """[Ioffe and Szegedy, 2015], as in the text."""

    def format_labels(self, sorted_entries):
        """A label for each entry."""
        for entry in sorted_entries:
            authors = [last_name(person) for person in entry.persons["author"]]
            names = " and ".join(authors) if len(authors) < 3 else f"{authors[0]} et al."
            yield f"{names}, {entry.fields['year']}"


class BookStyle(Style):
    """Plain, with one address: arXiv's, the DOI or another."""

    default_label_style = "names_and_year"

    def format_web_refs(self, e):
        """Where the text is."""
        found = first_of[
            optional[self.format_eprint(e)], optional[self.format_doi(e)], optional[self.format_url(e)]
        ]
        return sentence[optional[found]]


def setup(app) -> dict:
    """Sphinx calls this."""
    register_plugin("pybtex.style.labels", "names_and_year", NamesAndYear, force=True)
    register_plugin("pybtex.style.formatting", "book", BookStyle, force=True)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
