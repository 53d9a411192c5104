"""Rules and dashboards ask for what is exported, and for all of it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from shared import telemetry
from tests.monitoring.shipped import ALERTS, dashboards, metrics_of, queries, rules

CASES = Path(__file__).with_name("alerts_test.yaml")


@pytest.fixture(scope="module")
def exported() -> set[str]:
    registry = CollectorRegistry()
    for kind in ("JobMetrics", "WorkerMetrics", "TrainingMetrics", "GatewayMetrics", "StoreMetrics"):
        getattr(telemetry, kind)(registry)
    return {family.name for family in registry.collect()}


def test_what_is_asked_for_is_exported(exported: set[str]) -> None:
    asked = dict(queries()) | rules()
    assert {place: metrics_of(query) - exported for place, query in asked.items() if metrics_of(query) - exported} == {}


def test_what_is_exported_is_shown_somewhere(exported: set[str]) -> None:
    shown = set[str]().union(*(metrics_of(query) for _, query in queries()))
    assert exported - shown == set()


def test_panels_say_what_they_show() -> None:
    for dashboard in dashboards().values():
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}
        assert len(places) == len(panels)
        assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)
    assert len({dashboard["uid"] for dashboard in dashboards().values()}) == len(dashboards())


def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    assert {each["alertname"] for case in cases for each in case["alert_rule_test"] if each["exp_alerts"]} == set(
        rules()
    )
    for file in (ALERTS, CASES):
        shutil.copy(file, tmp_path)

    done = subprocess.run(
        ["promtool", "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr
