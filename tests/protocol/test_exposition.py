"""Pages of metrics say in both formats what they should, to the official parsers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from protocol.exposition import Family, Format, Kind, Sample, choose_format, render

FAMILIES = [
    Family("bees", Kind.COUNTER, "Bees that left the hive.", [Sample(3)]),
    Family("honey_grams", Kind.GAUGE, "Honey in the hive.", [Sample(0.5, (("comb", "1"),)), Sample(7)]),
    Family(
        "flight_seconds",
        Kind.HISTOGRAM,
        "How long they were gone.",
        [
            Sample(1, (("le", "0.5"),), "_bucket"),
            Sample(2, (("le", "+Inf"),), "_bucket"),
            Sample(2, (), "_count"),
            Sample(9.25, (), "_sum"),
        ],
    ),
    Family("hive", Kind.INFO, "Which hive.", [Sample(1, (("version", "2"),))]),
]

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TEXT_FIRST = "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def read(page: bytes, form: Format) -> list[Metric]:
    read_page = read_openmetrics if form is Format.OPENMETRICS else read_text
    return list(read_page(page.decode()))


@pytest.mark.parametrize("form", Format)
def test_a_parser_reads_back_every_sample(form: Format) -> None:
    samples = [
        (sample.name, sample.labels, sample.value)
        for family in read(render(FAMILIES, form), form)
        for sample in family.samples
    ]
    assert samples == [
        ("bees_total", {}, 3),
        ("honey_grams", {"comb": "1"}, 0.5),
        ("honey_grams", {}, 7),
        ("flight_seconds_bucket", {"le": "0.5"}, 1),
        ("flight_seconds_bucket", {"le": "+Inf"}, 2),
        ("flight_seconds_count", {}, 2),
        ("flight_seconds_sum", {}, 9.25),
        ("hive_info", {"version": "2"}, 1),
    ]


@pytest.mark.parametrize(
    ("form", "types"),
    [
        (Format.TEXT, ["counter", "gauge", "histogram", "gauge"]),  # the older format has no info
        (Format.OPENMETRICS, ["counter", "gauge", "histogram", "info"]),
    ],
)
def test_every_family_tells_its_type_and_what_it_is_about(form: Format, types: list[str]) -> None:
    families = read(render(FAMILIES, form), form)
    assert [family.type for family in families] == types
    assert [family.documentation for family in families] == [family.about for family in FAMILIES]


def test_the_older_format_names_a_family_as_its_samples() -> None:
    assert render(FAMILIES[:1], Format.TEXT) == (
        b"# HELP bees_total Bees that left the hive.\n# TYPE bees_total counter\nbees_total 3\n"
    )


def test_the_newer_format_names_a_family_without_the_suffix_and_says_where_it_ends() -> None:
    assert render(FAMILIES[:1], Format.OPENMETRICS) == (
        b"# HELP bees Bees that left the hive.\n# TYPE bees counter\nbees_total 3\n# EOF\n"
    )


@given(form=st.sampled_from(Format), value=st.text() | st.text('\\"\nn{},='))
def test_any_text_can_be_a_label(form: Format, value: str) -> None:
    page = render([Family("bees", Kind.COUNTER, "Bees.", [Sample(1, (("name", value), ("hive", "a")))])], form)
    (family,) = read(page, form)
    assert family.samples[0].labels == {"name": value, "hive": "a"}


@pytest.mark.parametrize(
    ("accepted", "form"),
    [
        ([PROMETHEUS_2], Format.OPENMETRICS),
        ([PROMETHEUS_3], Format.OPENMETRICS),
        ([TEXT_FIRST], Format.TEXT),
        ([BROWSER], Format.TEXT),
        (["*/*"], Format.TEXT),
        (["application/*"], Format.TEXT),
        (["application/json"], Format.TEXT),
        ([""], Format.TEXT),
        ([], Format.TEXT),
        (["application/openmetrics-text"], Format.OPENMETRICS),
        (["Application/OpenMetrics-Text; Version=1.0.0"], Format.OPENMETRICS),
        (['application/openmetrics-text; version="1.0.0" ; q=0.9'], Format.OPENMETRICS),
        (["application/openmetrics-text;version=0.0.1"], Format.TEXT),
        (["application/openmetrics-text;version=2.0.0, */*;q=0.1"], Format.TEXT),
        (["application/openmetrics-text;q=0"], Format.TEXT),
        (["application/openmetrics-text;q=0.000, text/plain;q=0"], Format.TEXT),
        (["text/plain;q=0, application/openmetrics-text;q=0.001"], Format.OPENMETRICS),
        (["text/plain, application/openmetrics-text"], Format.OPENMETRICS),
        (["text/*;q=0.8, application/openmetrics-text;q=0.7"], Format.TEXT),
        # The most exact range decides, however much more welcome another one is.
        (["text/plain;q=0.1, */*;q=0.9, application/openmetrics-text;q=0.5"], Format.OPENMETRICS),
        (["text/plain;version=1.0.0, application/openmetrics-text;q=0.5"], Format.OPENMETRICS),
        (["application/openmetrics-text;q=0.1, application/openmetrics-text, text/plain;q=0.5"], Format.OPENMETRICS),
        (["text/plain;q=0.5", "application/openmetrics-text;q=0.7"], Format.OPENMETRICS),
        (["application/openmetrics-text;q=2"], Format.TEXT),
        (["application/openmetrics-text;q=nan"], Format.TEXT),
        (["application/openmetrics-text;q=, text/plain"], Format.TEXT),
    ],
)
def test_the_scraper_gets_the_format_it_prefers(accepted: list[str], form: Format) -> None:
    assert choose_format([(b"accept", value.encode()) for value in accepted]) is form


@given(accepted=st.lists(st.binary() | st.text("application/openmetrics-text;q=01.5,*").map(str.encode)))
def test_any_accept_field_chooses_a_format(accepted: list[bytes]) -> None:
    assert choose_format([(b"accept", value) for value in accepted]) in Format
