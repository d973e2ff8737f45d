"""The dashboard for Grafana asks for what the server tells, in the shape in which Grafana 10 and later import it."""

import json
import re
from typing import Any

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase
from twisted.trial.unittest import SynchronousTestCase

import mailx.ops.metrics
from mailx.core import metrics
from mailx.core.metrics import REGISTRY
from tests.test_docs import ROOT

SELECTOR = re.compile(r"\b((?:mailx|process)_[a-z_]+)\{([^{}]*)\}")
SCHEMA = 38  # of Grafana 10.0


def labels() -> dict[str, set[str]]:
    """Every sample that Prometheus reads of the server, with the names of its labels."""
    found = {sample.name: set(sample.labels) for family in REGISTRY.collect() for sample in family.samples}
    for one in (*vars(metrics).values(), *vars(mailx.ops.metrics).values()):
        if isinstance(one, MetricWrapperBase):
            own = set(one._labelnames)
            if isinstance(one, Counter):
                found[f"{one._name}_total"] = own
            elif isinstance(one, Histogram):
                found[f"{one._name}_bucket"] = own | {"le"}
            else:
                found[one._name] = own
    return found


class Dashboard(SynchronousTestCase):
    """``etc/grafana-dashboard.json``"""

    def setUp(self) -> None:
        self.board = json.loads((ROOT / "etc" / "grafana-dashboard.json").read_text(encoding="utf-8"))
        self.panels: list[dict[str, Any]] = self.board["panels"]
        self.targets = [(panel["title"], target) for panel in self.panels for target in panel.get("targets", ())]

    def test_every_metric_exists_with_its_labels(self) -> None:
        there = labels()
        for title, target in self.targets:
            expression = target["expr"]
            names = SELECTOR.findall(expression)
            self.assertTrue(names, title)
            self.assertEqual(len(names), len(re.findall(r"\b(?:mailx|process)_[a-z]", expression)), f"{title}: one asks without selector")
            known = {"instance"}
            for name, selector in names:
                self.assertIn(name, there, title)
                known |= there[name]
                asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
                self.assertIn("instance", asked, f"{title}: {name} of all servers")
                self.assertLessEqual(asked, there[name] | {"instance"}, title)
            grouped = {each.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for each in group.split(",")}
            self.assertLessEqual(grouped, known, title)
            self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])), grouped, f"{title}: legend")

    def test_counters_are_asked_for_as_rates(self) -> None:
        counters = {name for name, _ in SELECTOR.findall(self.expressions()) if name.endswith(("_total", "_bucket"))}
        for name in counters:
            asked = len(re.findall(rf"\b{name}\{{", self.expressions()))
            self.assertEqual(asked, len(re.findall(rf"\b(?:rate|increase)\({name}\{{", self.expressions())), name)

    def test_nothing_that_the_server_tells_is_missing(self) -> None:
        asked = {name.removesuffix("_bucket") for name, _ in SELECTOR.findall(self.expressions())}
        told = {f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()}
        self.assertEqual({name for name in told if name.startswith("mailx_")} - asked, set())

    def test_parentheses(self) -> None:
        for title, target in self.targets:
            self.assertEqual(target["expr"].count("("), target["expr"].count(")"), title)

    def expressions(self) -> str:
        return "\n".join(target["expr"] for _, target in self.targets)

    def test_shape(self) -> None:
        board = self.board
        self.assertIsNone(board["id"])  # else an import would take the place of another dashboard
        self.assertGreaterEqual(board["schemaVersion"], SCHEMA)
        self.assertRegex(board["uid"], r"\A[a-zA-Z0-9_-]{1,40}\Z")
        self.assertEqual(board["title"], "MailX")
        kinds = {variable["name"]: variable for variable in board["templating"]["list"]}
        self.assertEqual(kinds["datasource"]["type"], "datasource")
        self.assertEqual(kinds["datasource"]["query"], "prometheus")
        self.assertEqual(kinds["instance"]["type"], "query")
        self.assertEqual(set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(board))) - {"datasource", "instance"}, set())
        ids = [panel["id"] for panel in self.panels]
        self.assertEqual(len(ids), len(set(ids)))

    def test_panels(self) -> None:
        source = {"type": "prometheus", "uid": "${datasource}"}
        for panel in self.panels:
            self.assertIn(panel["type"], ("row", "stat", "timeseries"))
            self.assertTrue(panel["title"])
            if panel["type"] == "row":
                self.assertEqual(panel["panels"], [])
                continue
            self.assertEqual(panel["datasource"], source)
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
            references = [target["refId"] for target in panel["targets"]]
            self.assertEqual(references, sorted(set(references)))

    def test_panels_do_not_lie_upon_each_other(self) -> None:
        taken: dict[tuple[int, int], str] = {}
        for panel in self.panels:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken[x, y] = panel["title"]
