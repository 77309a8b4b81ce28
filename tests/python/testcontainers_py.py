"""What a test suite does with `testcontainers`, behind the wall that WALL names."""

import os

from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

kwargs = {"isolation": os.environ["WALL"], "network_mode": "none", "mem_limit": "128m", "pids_limit": 64}

script = "echo ready; while :; do sleep 0.1; done"
box = DockerContainer("busybox").with_command(["sh", "-c", script]).with_env("NAME", "value").with_kwargs(**kwargs)
with box as container:
    wait_for_logs(container, "ready", timeout=60)
    code, out = container.exec(["sh", "-c", "echo $NAME"])
    assert (code, out) == (0, b"value\n"), (code, out)
    stdout, stderr = container.get_logs()
    assert (stdout, stderr) == (b"ready\n", b""), (stdout, stderr)
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    assert wrapped.status == "running"
    identifier = wrapped.id

client = box.get_docker_client().client
assert identifier not in [each.id for each in client.containers.list(all=True)]
print("passed: testcontainers")
