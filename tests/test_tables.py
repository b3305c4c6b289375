import xml.etree.ElementTree as ET

import numpy as np
import pytest

from normcore.tables import number, table


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (0.1234, ".3g", "0.123"),
        (-0.5, "+.2f", "−0.50"),
        (3.21e-5, ".1e", "3.2·10⁻⁵"),
        (1e9, ".2g", "1·10⁹"),
        (12345, ",.0f", "12,345"),
        (np.inf, ".0f", "∞"),
        (-np.inf, ".0f", "−∞"),
    ],
)
def test_a_number_is_printed_as_in_a_book(value, spec, text):
    assert number(value, spec) == text


def elements(found):
    return ET.fromstring(found._repr_html_())


def test_a_table_has_its_caption_headers_and_numbers_with_their_values():
    rng = np.random.default_rng(3)
    runs = rng.normal(size=(3, 7))
    found = table(
        {"a < b": ["x & y", "z", "w"], "loss": runs, "m": [2, 4.5, 8]}, "Over 7 seeds", {"loss": "+.2f"}
    )
    root = elements(found)
    assert root.findtext("caption") == "Over 7 seeds"
    assert [th.text for th in root.iter("th")] == ["a < b", "loss", "m", "x & y", "z", "w"]
    for tr, run, m in zip(root.findall("tbody/tr"), runs, (2, 4.5, 8), strict=True):
        loss, size = tr.findall("td")
        assert float(loss.get("data-value")) == pytest.approx(np.median(run), rel=1e-5)
        printed = loss.text.replace("−", "-").replace("(", "").replace(")", "").replace("to", "").split()
        assert [float(p) for p in printed] == pytest.approx([np.median(run), run.min(), run.max()], abs=0.005)
        assert float(size.get("data-value")) == m and size.text == f"{m:.3g}"


def test_where_all_seeds_agree_one_number_is_printed():
    found = table({"n": ["a", "b"], "steps": [[np.inf, np.inf], [3.001, 3.002]]}, "c", {"steps": ".1f"})
    assert [td.text for td in elements(found).iter("td")] == ["∞", "3.0"]


def test_laid_out_otherwise_it_stays_a_table_to_a_screen_reader():
    root = elements(table({"layer": ["1"], "scale": [2.0]}, "c"))
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    for tag, role in roles.items():
        for found in [root] if tag == "table" else root.iter(tag):
            assert found.get("role") == role
    assert {th.get("scope") for th in root.iter("th")} == {"col", "row"}
    assert all(cell.get("data-label") for cell in root.findall("tbody/tr/*"))


def test_in_a_console_columns_are_aligned():
    text = repr(table({"network": ["a", "longer"], "steps": [5, 12345]}, "Steps", {"steps": ",.0f"}))
    assert text == "network   steps\na             5\nlonger   12,345\n\nSteps"


@pytest.mark.parametrize(
    ("columns", "caption", "formats", "said"),
    [
        ({"a": [1]}, "", {}, "caption must say what the table shows"),
        ({}, "c", {}, "columns must have one length"),
        ({"a": [1], "b": [1, 2]}, "c", {}, "columns must have one length, but got {'a': 1, 'b': 2}"),
        ({"a": [1]}, "c", {"b": ".2f"}, "formats must name columns, but got b"),
    ],
)
def test_what_is_not_a_table_is_refused(columns, caption, formats, said):
    with pytest.raises(ValueError, match=said.replace("{", r"\{")):
        table(columns, caption, formats)


def test_a_caption_counts_the_seeds_itself():
    runs = np.random.default_rng(3).normal(size=(3, 7))
    found = table({"network": ["x", "y", "z"], "loss": runs, "m": [2, 4.5, 8]}, "Loss, median of {seeds}")
    assert found.caption == "Loss, median of 7 seeds"
    with pytest.raises(ValueError, match=r"number of seeds, but got \[6, 7\]"):
        table({"network": ["x", "y"], "loss": [runs[0], runs[1, :6]]}, "Median of {seeds}")
    with pytest.raises(ValueError, match=r"number of seeds, but got \[\]"):
        table({"network": ["x"], "loss": [3.0]}, "Median of {seeds}")
