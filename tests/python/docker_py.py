"""The everyday calls of the Python client `docker`, behind the wall that WALL names."""

import io
import os
import tarfile
import threading
import time

import docker
import docker.errors
import docker.types

WALL = os.environ["WALL"]
client = docker.from_env(timeout=120)


def options(**more):
    """What every container of these tests gets."""
    return {"isolation": WALL, "network_mode": "none", "mem_limit": "128m", "pids_limit": 64, **more}


def until(what, holds):
    end = time.time() + 60
    while not holds():
        assert time.time() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def engine():
    assert client.ping()
    assert client.version()["ApiVersion"]
    info = client.info()
    assert info["OSType"] == "linux" and info["Images"] >= 1
    assert "Containers" in client.df()
    image = client.images.get("busybox")
    assert image.id in [each.id for each in client.images.list()]
    assert any("busybox" in tag for tag in image.tags)


def run_to_the_end():
    out = client.containers.run("busybox", ["echo", "hello"], remove=True, **options())
    assert out == b"hello\n", out
    try:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True, **options())
        raise AssertionError("an exit code of 3 is an error")
    except docker.errors.ContainerError as err:
        assert err.exit_status == 3 and err.stderr == b"bad\n", err
    try:
        client.containers.run("no-such-image-here:1", **options())
        raise AssertionError("there is no such image")
    except (docker.errors.ImageNotFound, docker.errors.APIError):
        pass


def life():
    box = client.containers.create(
        "busybox",
        ["sh", "-c", "echo up; trap 'exit 4' TERM; while :; do sleep 0.1; done"],
        name="box",
        environment={"A": "1", "B": "two words"},
        labels={"team": "a"},
        hostname="named",
        working_dir="/tmp",
        **options(),
    )
    assert box.status == "created"
    box.start()
    box.reload()
    assert box.status == "running" and box.attrs["State"]["Running"]
    assert box.attrs["HostConfig"]["Isolation"] == WALL
    until("its log", lambda: box.logs() == b"up\n")
    assert [each.name for each in client.containers.list(filters={"label": "team=a"})] == ["box"]
    code, out = box.exec_run(["sh", "-c", "echo $A $B; hostname; pwd"])
    assert (code, out) == (0, b"1 two words\nnamed\n/tmp\n"), (code, out)
    code, out = box.exec_run(["sh", "-c", "echo out; echo err >&2; exit 9"], demux=True)
    assert (code, out) == (9, (b"out\n", b"err\n")), (code, out)
    titles = box.top()["Titles"]
    assert "PID" in titles and "CMD" in titles, titles
    stats = box.stats(stream=False)
    assert stats["memory_stats"]["limit"] == 128 << 20, stats["memory_stats"]
    assert stats["pids_stats"]["current"] >= 1
    box.pause()
    box.reload()
    assert box.status == "paused"
    box.unpause()
    box.rename("other")
    assert client.containers.get("other").id == box.id
    box.update(mem_limit="96m", memswap_limit="96m")
    box.reload()
    assert box.attrs["HostConfig"]["Memory"] == 96 << 20
    box.stop(timeout=30)
    assert box.wait()["StatusCode"] == 4
    box.start()
    box.kill()
    assert box.wait()["StatusCode"] == 137
    box.restart(timeout=10)
    box.reload()
    assert box.status == "running"
    box.remove(force=True)
    try:
        client.containers.get("other")
        raise AssertionError("it was removed")
    except docker.errors.NotFound:
        pass


def files():
    box = client.containers.run("busybox", ["sleep", "1000"], detach=True, **options())
    text = b"from python"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("greeting")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    assert box.put_archive("/tmp", archive.getvalue())
    assert box.exec_run(["cat", "/tmp/greeting"])[1] == text
    pieces, stat = box.get_archive("/tmp/greeting")
    assert stat["name"] == "greeting" and stat["size"] == len(text), stat
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("greeting").read() == text
    changed = {each["Path"]: each["Kind"] for each in box.diff()}
    assert changed["/tmp/greeting"] == 1 and changed["/tmp"] == 0, changed
    image = box.commit("from-python", "one", changes=["ENV FROM=python"])
    assert image.attrs["Config"]["Env"].count("FROM=python") == 1
    out = client.containers.run("from-python:one", ["sh", "-c", "cat /tmp/greeting; echo $FROM"], remove=True, **options())
    assert out == text + b"python\n", out
    names = tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))).getnames()
    assert "tmp/greeting" in names and "bin/busybox" in names, names[:20]
    box.remove(force=True)
    client.images.remove("from-python:one")


def streams():
    seen = []

    def listen():
        for event in client.events(decode=True, filters={"type": "container", "event": ["start", "die"]}):
            seen.append(event["Action"])
            if len(seen) == 2:
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    until("the listener", lambda: client.info()["NEventsListener"] >= 1)
    box = client.containers.create("busybox", ["sh", "-c", "read x; echo got $x"], stdin_open=True, **options())
    socket = box.attach_socket(params={"stdin": 1, "stream": 1})
    box.start()
    socket._sock.sendall(b"word\n")
    assert box.wait()["StatusCode"] == 0
    assert box.logs(stdout=True, stderr=False) == b"got word\n"
    assert b"".join(box.logs(stream=True, timestamps=True)).endswith(b"got word\n")
    listener.join(60)
    assert seen == ["start", "die"], seen
    box.remove()
    assert client.containers.prune()["SpaceReclaimed"] >= 0


for part in [engine, run_to_the_end, life, files, streams]:
    part()
    print("passed:", part.__name__, flush=True)
