"""The question that KEDA asks, answered by Prometheus' own unit tests of rules."""

import subprocess
from pathlib import Path

import yaml

from tests.chart.rendered import find, rendered

LEADS = 'shelver_dispatcher_leader{namespace="shelver",pod="a"}'
FOLLOWS = 'shelver_dispatcher_leader{namespace="shelver",pod="b"}'
CHUNKS = 'shelver_outstanding_chunks{namespace="shelver",pool="batch",pod="a"}'
ELSEWHERE = 'shelver_outstanding_chunks{namespace="other",pool="batch",pod="a"}'


def test_it_is_the_outstanding_chunks_of_the_pool_while_a_dispatcher_leads(tmp_path: Path) -> None:
    scaled = find(rendered("everything"), "ScaledObject", "shop-shelver-worker-batch")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    cases: dict[str, tuple[dict[str, str], list[float]]] = {
        "work": ({LEADS: "1x5", FOLLOWS: "0x5", CHUNKS: "12x5", ELSEWHERE: "99x5"}, [12]),
        "no work": ({LEADS: "1x5", FOLLOWS: "0x5", ELSEWHERE: "99x5"}, [0]),
        "nobody leads": ({FOLLOWS: "0x5"}, []),
        "nobody is there": ({ELSEWHERE: "99x5"}, []),
    }
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": one, "values": values} for one, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": trigger["metadata"]["query"],
                    "eval_time": "5m",
                    "exp_samples": [{"labels": "{}", "value": value} for value in answer],
                }
            ],
        }
        for name, (series, answer) in cases.items()
    ]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"tests": tests}))

    done = subprocess.run(["promtool", "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
