"""`python -m tests.e2e.fake_ec2 DIRECTORY`: EC2 whose machines are containers with a real sshd.

moto answers the API. RunInstances starts a container at an address of its own on loopback, StopInstances
stops it, CreateImage keeps its disk. One whose user-data holds a job runs the script on its AMI's disk,
and is terminated when that powers off. Its container engine is this machine's, as it has no kernel to run its
own; one from `WITHOUT_ENGINE` has none. What moto does not know (`_ANSWERED`) is answered with success; every
request is in `requests.jsonl`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import docker
from docker.errors import NotFound
from docker.types import Mount
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.instances import InstanceBackend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from lab.engine import engine
from lab.machine import USER, machine_image
from lab.packages import find_program
from lab.story import Story
from tests.e2e.imds import metadata

WITHOUT_ENGINE = "ami-0bad0000000000001"
_ANSWERED = ("EnableImageDeprecation",)
_SOCKET = "/var/run/docker.sock"
_START = (
    f"umask 077; ssh-keygen -A; mkdir -p /run/sshd ~{USER}/.ssh; "
    f'echo "$KEY" >~{USER}/.ssh/authorized_keys; chown -R {USER}: ~{USER}/.ssh; exec /usr/sbin/sshd -D -e'
)


class Containers:
    """The machines: one container for each instance, by its id."""

    def __init__(self, client: docker.DockerClient, port: int) -> None:
        self._client = client
        self._source = machine_image(client, story=Story())
        self._network = f"127.{64 + (port >> 8) % 128}.{port & 255}"
        self._seen = 1
        self.images: dict[str, str] = {}
        self._jobs: dict[str, subprocess.Popen[bytes]] = {}

    def start_job(self, instance: Any, order: str, ended: Callable[[], object]) -> None:
        """Run the job's script, taken from the disk; `ended` when it powers off."""
        directory = Path(tempfile.mkdtemp(prefix="runbake-lab-job-"))
        disk = self._client.containers.create(self.images[instance.image_id], ["true"])
        try:
            for path in ("/usr/local/sbin/runbake-job", "/etc/runbake/image"):
                with tarfile.open(fileobj=io.BytesIO(b"".join(disk.get_archive(path)[0]))) as archive:
                    archive.extractall(directory, filter="data")
        finally:
            disk.remove()
        threading.Thread(target=self._job, args=(instance.id, order, directory, ended)).start()

    def _job(self, name: str, order: str, directory: Path, ended: Callable[[], object]) -> None:
        program = Path(str(find_program("docker"))).parent
        with metadata(order, name) as url, (directory / "console").open("wb") as console:
            command = [sys.executable, str(directory / "runbake-job"), "--imds", url, "--power-off", "true"]
            command += ["--directory", str(directory / "work"), "--image", str(directory / "image")]
            command += ["--name", f"runbake-job-{name}"]
            path = f"{program}{os.pathsep}{os.environ['PATH']}"
            process = self._jobs[name] = subprocess.Popen(
                command, stdout=console, stderr=subprocess.STDOUT, env={**os.environ, "PATH": path}
            )
            process.wait()
        del self._jobs[name]
        shutil.rmtree(directory)
        ended()

    def start(self, instance: Any, key: str) -> None:
        self._seen += 1
        address = f"{self._network}.{self._seen}"
        program = find_program("docker")
        self._client.containers.run(
            self.images.get(instance.image_id, self._source),
            ["bash", "-c", _START],
            name=instance.id,
            detach=True,
            environment={"KEY": key},
            ports={"22/tcp": (address, 22)},
            mounts=[
                Mount("/usr/bin/docker", str(program), type="bind", read_only=True),
                *([] if instance.image_id == WITHOUT_ENGINE else [Mount(_SOCKET, _SOCKET, type="bind")]),
            ],
        )
        instance.nics[0].public_ip = address

    def stop(self, name: str) -> None:
        self._client.containers.get(name).stop(timeout=1)

    def remove(self, name: str) -> None:
        if job := self._jobs.get(name):
            job.terminate()
            job.wait()
        try:
            self._client.containers.get(name).remove(force=True)
        except NotFound:
            return

    def keep(self, name: str, image_id: str) -> None:
        self._client.containers.get(name).commit(repository="runbake-lab/ami", tag=image_id)
        self.images[image_id] = f"runbake-lab/ami:{image_id}"

    def close(self, names: Iterable[str]) -> None:
        for name in names:
            self.remove(name)
        for image in self.images.values():
            self._client.images.remove(image, force=True)


def wire(containers: Containers) -> set[str]:
    """Have moto's instances drive the containers; the names of all that were started."""
    run, stop = InstanceBackend.run_instances, InstanceBackend.stop_instances
    terminate, create = InstanceBackend.terminate_instances, AmiBackend.create_image
    started: set[str] = set()

    def run_instances(self: Any, *given: Any, **named: Any) -> Any:
        reservation = run(self, *given, **named)
        for instance in reservation.instances:
            if order := job_in(instance.user_data):
                ended = partial(terminate, self, [instance.id])
                containers.start_job(instance, order, ended)
                continue
            pairs = self.describe_key_pairs(key_names=[instance.key_name]) if instance.key_name else []
            started.add(instance.id)
            # EC2 adds the key's name, by which Packer finds its own key again.
            containers.start(
                instance, f"{pairs[0].material_public.decode().strip()} {instance.key_name}" if pairs else ""
            )
        return reservation

    def stop_instances(self: Any, ids: Any) -> Any:
        for one in ids:
            containers.stop(one)
        return stop(self, ids)

    def terminate_instances(self: Any, ids: Any) -> Any:
        for one in ids:
            containers.remove(one)
        return terminate(self, ids)

    def create_image(self: Any, instance_id: str, *given: Any, **named: Any) -> Any:
        image = create(self, instance_id, *given, **named)
        containers.keep(instance_id, image.id)
        return image

    InstanceBackend.run_instances, InstanceBackend.stop_instances = run_instances, stop_instances
    InstanceBackend.terminate_instances, AmiBackend.create_image = terminate_instances, create_image
    return started


def job_in(user_data: Any) -> str:
    """The user-data that holds a job, as the machine reads it; "" for other user-data, and none."""
    text = base64.b64decode(str(user_data or "")).decode()
    return text if text.startswith("{") and "runbake" in json.loads(text) else ""


def recorded(
    app: Callable[..., Any], log: Path
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """The application, every form that is posted to it written down first."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        form = dict(urllib.parse.parse_qsl(body.decode(errors="replace")))
        if "Action" in form:
            with log.open("a") as out:
                out.write(json.dumps(form) + "\n")
        if form.get("Action") in _ANSWERED:
            start("200 OK", [("Content-Type", "text/xml")])
            name = f"{form['Action']}Response"
            return [f"<{name}><return>true</return></{name}>".encode()]
        return app(environ, start)  # type: ignore[no-any-return]

    return answer


def main() -> None:
    """Serve until SIGTERM; DIRECTORY/address says where."""
    directory = Path(sys.argv[1])
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, recorded(app, directory / "requests.jsonl"), threaded=True)
    containers = Containers(engine(), server.server_port)
    started = wire(containers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    partial = directory / "address.partial"
    partial.write_text(f"http://127.0.0.1:{server.server_port}")
    os.replace(partial, directory / "address")
    try:
        server.serve_forever()
    finally:
        containers.close(started)


if __name__ == "__main__":
    main()
