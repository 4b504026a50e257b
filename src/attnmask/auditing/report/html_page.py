"""Write a report as a self-contained HTML page with a sortable table, details of findings, and pictures of masks."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from xml.etree.ElementTree import Element, SubElement, tostring

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.mask_pictures import (
    LEGEND,
    merge_equal_layers,
    svg_from_difference,
    svg_from_plan,
    worst_item_and_head,
)
from attnmask.auditing.report.summary import (
    FindingGroup,
    bug_groups,
    count,
    declared_in_words,
    finding_groups,
    headline,
    measurement_text,
)
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.escapes import escaped

# The content security policy forbids the page to load anything from outside.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
COLUMNS = ("verdict", "probe", "why", "since", "cells", "size")
# Larger masks would make larger pages than anybody looks at.
MAX_SIDE_DRAWN = 128


def html_from_report(report: Report) -> str:
    """A report as an HTML page.

    >>> html_from_report(Report("Net", ()))[:15]
    '<!DOCTYPE html>'
    """
    page = Element("html", {"lang": "en"})
    head, body = SubElement(page, "head"), SubElement(page, "body")
    _fill_head(head, f"attnmask audit: {report.model}")
    main = SubElement(body, "main")
    _add_title(main, report)
    _add_findings(main, report)
    if report.layers:
        _text(main, "h2", "What each layer attends to")
        _text(main, "p", "On a batch of two texts, the second padded on the left; rows of padding are left out.")
        _add_layers(main, report.layers)
    _add_exit(main, report)
    SubElement(body, "script").text = _resource("page.js")
    for element in page.iter():  # names in the model's code may hold control characters
        element.text = escaped(element.text, lines=True) if element.text else element.text
        element.attrib.update({name: escaped(value, lines=True) for name, value in element.items()})
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _fill_head(head: Element, title: str) -> None:
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": POLICY})
    SubElement(head, "link", {"rel": "icon", "href": "data:,"})
    SubElement(head, "title").text = title
    SubElement(head, "style").text = _resource("page.css")


def _add_title(main: Element, report: Report) -> None:
    outcome = {0: "clean", 1: "bugs", 2: "unknown"}[report.exit_code]
    _text(main, "h1", headline(report), outcome)
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    declared = f"Declared: {declared_in_words(report)}. " if report.declared else ""
    _text(main, "p", f"{declared}{versions}", "dim")
    for bug in bug_groups(report):
        since = f", since {bug.first.since}" if bug.first.since else ""
        _text(main, "p", f"{bug.probe}{since}: {bug.why}", "bug")


def _add_findings(main: Element, report: Report) -> None:
    _text(main, "h2", "Findings")
    _add_legend(main)
    table = SubElement(main, "div", {"id": "findings"})
    head = SubElement(table, "div", {"class": "row head"})
    for column in COLUMNS:
        SubElement(head, "button", {"type": "button", "data-sort": column}).text = column
    for number, group in enumerate(finding_groups(report)):
        _add_group(table, group, number)


def _add_group(table: Element, group: FindingGroup, number: int) -> None:
    measured = group.first.number
    cells = {
        "verdict": group.verdict.value,
        "probe": group.probe,
        "why": group.why,
        "since": group.first.since,
        "cells": str(len(group.findings)),
        "size": "" if measured is None else f"{measured:.2g}",
    }
    keys = {f"data-{name}": text for name, text in cells.items()} | {"data-verdict": str(number)}
    details = SubElement(table, "details", {"class": f"finding {_css_name(group.verdict)}"} | keys)
    summary = SubElement(details, "summary", {"class": "row"})
    for name, text in cells.items():
        _text(summary, "span", text, name)
    _add_details(details, group)


def _add_details(details: Element, group: FindingGroup) -> None:
    facts = {"What": group.first.what, "Where": group.where, "Cause": group.first.cause, "Size": group.size}
    if group.first.since:
        facts["Since"] = f"{group.first.since}; {group.wrong_layers}"
    box = SubElement(details, "div", {"class": "inside"})
    listed = SubElement(box, "dl")
    for name, text in facts.items():
        if text:
            _text(listed, "dt", name)
            _text(listed, "dd", text)
    if group.layers and group.verdict is Verdict.BUG:
        _text(box, "h3", "Masks in that run")
        _add_layers(box, group.layers)
    if group.first.script:
        _add_script(box, group.first.script)
    _add_cells(box, group.findings)


def _add_layers(parent: Element, masks: tuple[LayerMask, ...]) -> None:
    """Declared, received, difference, of every layer; one picture where they are the same."""
    layers = SubElement(parent, "div", {"class": "layers"})
    for names, mask in merge_equal_layers(masks):
        layer = SubElement(layers, "div", {"class": "layer" if mask.expected == mask.received else "layer wide"})
        wrong = [f"{mask.extra} pairs too many"] * bool(mask.extra) + [f"{mask.missing} too few"] * bool(mask.missing)
        _text(layer, "p", f"{names}: {', '.join(wrong) or 'as declared'}", "bug" if wrong else "")
        if max(mask.received.Q, mask.received.K) > MAX_SIDE_DRAWN:
            _text(layer, "p", f"{mask.received.Q} x {mask.received.K}: too large to draw", "dim")
            continue
        for name, svg in _pictures(names, mask):
            figure = SubElement(layer, "figure")
            figure.append(svg)
            _text(figure, "figcaption", name)


def _pictures(names: str, mask: LayerMask) -> Iterator[tuple[str, Element]]:
    item, head = worst_item_and_head(mask)
    plans = (mask.expected, mask.received)
    several = (
        (any(plan.B > 1 for plan in plans), f"batch item {item}"),
        (any(plan.H > 1 for plan in plans), f"head {head}"),
    )
    where = "".join(f", {text}" for shown, text in several if shown)
    if mask.expected == mask.received:
        yield f"declared and received{where}", svg_from_plan(mask.received, f"{names}, received", item, head)
        return
    declared = "declared" if mask.is_exact else "allowed at most"
    for name, plan in ((declared, mask.expected), ("received", mask.received)):
        yield f"{name}{where}", svg_from_plan(plan, f"{names}, {name}", item, head)
    yield f"difference{where}", svg_from_difference(mask, f"{names}, difference", item, head)


def _add_script(box: Element, script: str) -> None:
    _text(box, "h3", "Reproduction, without attnmask")
    shown = SubElement(box, "div", {"class": "script"})
    SubElement(shown, "button", {"type": "button", "class": "copy"}).text = "copy"
    SubElement(SubElement(shown, "pre"), "code").text = script


def _add_cells(box: Element, findings: tuple[Finding, ...]) -> None:
    _text(box, "h3", count(len(findings), "cell"))
    listed = SubElement(box, "ul", {"class": "cells"})
    for finding in findings:
        _text(listed, "li", ": ".join(filter(None, (finding.where, measurement_text(finding)))) or finding.what)


def _add_legend(main: Element) -> None:
    legend = SubElement(main, "p", {"class": "legend"})
    for colour, meaning in LEGEND:
        SubElement(legend, "i", {"style": f"background:{colour}"})
        SubElement(legend, "span").text = meaning
    SubElement(legend, "span").text = "Queries run from top to bottom, keys from left to right."


def _add_exit(main: Element, report: Report) -> None:
    meaning = {0: "clean", 1: "findings", 2: "could not run"}[report.exit_code]
    _text(main, "p", f"exit code {report.exit_code}: {meaning}", "dim")


def _css_name(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "-")


def _text(parent: Element, tag: str, text: str, kind: str = "") -> None:
    SubElement(parent, tag, {"class": kind} if kind else {}).text = text


def _resource(name: str) -> str:
    return files("attnmask.auditing.report").joinpath(name).read_text(encoding="utf-8")
