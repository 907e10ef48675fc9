"""The gates as JUnit XML, one test case each: GoCD's test tab, and any other, shows them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from runbake.evaluation.evaluation import Evaluation

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_of(evaluation: Evaluation) -> bytes:
    """The document; a gate that is not decidable is an error, one without a baseline is skipped.

    Source: the JUnit schema of Apache Ant; XML 1.0, section 2.2, for what characters may stand in it.
    """
    outcomes = [decision.outcome for decision in evaluation.decisions]
    suite = ET.Element(
        "testsuite",
        name="runbake evaluate",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("failed")),
        errors=str(outcomes.count("undecidable")),
        skipped=str(outcomes.count("no baseline")),
    )
    for decision in evaluation.decisions:
        case = ET.SubElement(
            suite, "testcase", classname=_text(decision.where or "all rows"), name=_text(decision.name)
        )
        if decision.outcome == "passed":
            ET.SubElement(case, "system-out").text = _text(decision.why)
            continue
        tag = {"failed": "failure", "undecidable": "error", "no baseline": "skipped"}[decision.outcome]
        ET.SubElement(case, tag, message=_text(decision.why)).text = _text(decision.why)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _text(text: str) -> str:
    return _NOT_XML.sub("�", text)
