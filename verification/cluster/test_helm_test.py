"""`helm test` names the permission that is missing."""

from __future__ import annotations

from pathlib import Path

import helm_python
import pytest

from verification.cluster.page import kafka_tools
from verification.cluster.release import Release
from verification.cluster.world import LOGIN, PASSWORD, SERVERS, USER, apply, run

pytestmark = pytest.mark.cluster

LOGIN_VALUES = {
    "secretFiles": {"kafka": "kafka-login"},
    "config": {
        "kafka": {
            "bootstrap_servers": f"kafka-1:{LOGIN}",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": USER,
            "sasl_password_file": "/etc/appmetrica-worker/kafka/password",
        }
    },
}


async def test_helm_test_names_the_missing_permission(world: None, tmp_path: Path) -> None:
    release = Release("login")
    topic = release.topic
    await release.prepare()
    await apply(
        {
            "kind": "Secret",
            "metadata": {"name": "kafka-login", "namespace": release.namespace},
            "stringData": {"password": PASSWORD},
        }
    )
    tool = kafka_tools(tmp_path)["kafka-acls.sh"]
    rules = [*tool, f"--bootstrap-server={SERVERS}", f"--allow-principal=User:{USER}"]
    reads = ("--operation=Read", "--operation=Describe")
    dead_letter_rules = ("--operation=Write", f"--topic={topic}.dlq")
    await run(*rules, "--add", *reads, f"--topic={topic}", f"--group={topic}")
    await run(*rules, "--add", *reads, f"--topic={topic}.dlq", f"--topic={topic}.parked")
    await run(
        *rules, "--add", "--operation=Write", f"--topic={topic}.dlq", f"--topic={topic}.parked"
    )
    await release.install(LOGIN_VALUES, {"replicas": 1})
    await release.test()
    await run(*rules, "--remove", "--force", *dead_letter_rules)
    with pytest.raises(helm_python.HelmError):
        await release.test()
    log = await release.kubectl("logs", f"pod/{release.name}-appmetrica-worker-test")
    assert f"{topic}.dlq" in log and "WRITE is not granted" in log, log
    await release.uninstall()
