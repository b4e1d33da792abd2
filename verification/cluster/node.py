"""What runs in the cluster's namespaces: the network, Kubernetes' components and the runtime.

`python -m verification.cluster.node DIRECTORY PROGRAMS IMAGE…` is the first process of the
namespaces (`kubernetes.py` starts it): with it everything ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from verification.cluster.node_configuration import (
    NETWORK_BITS,
    NODE,
    NODE_ADDRESS,
    SERVICES,
    kubeconfig,
    write_file,
)
from verification.cluster.programs import Programs

ETCD = "http://127.0.0.1:2379"
START_SECONDS_MAX = 300.0
POLL_SECONDS = 0.1
# What the kubelet would set for the whole machine: in its mount namespace it finds it set.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
# Folders that runtime and kubelet use under fixed names: in the mount namespace they are folders
# of the cluster's directory.
PLACES = (
    "/run/netns",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
)


class Node:
    """The components, in the order of their starts. Ends when one of them does."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        self._directory = directory
        self._programs = programs
        self._started: dict[int, str] = {}

    def run(self, images: Sequence[Path]) -> None:
        """Start everything, and stay until a component ends."""
        _set_up_network()
        self._start_control_plane()
        self._bind_places()
        self._start_runtime(images)
        self._start_node()
        self._await("the default service account", self._has("serviceaccount", "default"))
        write_file(self._directory / "ready", "")
        while True:
            self._notice(*os.wait())

    def _start_control_plane(self) -> None:
        directory = self._directory
        service_account = directory / "sa.key"
        _run("openssl", "genrsa", "-out", str(service_account), "2048")
        self._start(
            "etcd",
            f"--data-dir={directory}/etcd",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        )
        self._start(
            "kube-apiserver",
            f"--etcd-servers={ETCD}",
            f"--advertise-address={NODE_ADDRESS}",
            "--secure-port=6443",
            f"--cert-dir={directory}/pki",
            f"--token-auth-file={directory}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # Without it `kubectl logs` would resolve the node's name.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={service_account}",
            f"--service-account-signing-key-file={service_account}",
        )
        certificate = directory / "pki/apiserver.crt"
        self._await("the certificate of the API server", certificate.exists)
        self._await("the API server", lambda: self._kubectl("get", "--raw=/readyz") == "ok")
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig(directory, 'kube-controller-manager')}",
            f"--service-account-private-key-file={service_account}",
            f"--root-ca-file={certificate}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        self._start(
            "kube-scheduler",
            f"--kubeconfig={kubeconfig(directory, 'kube-scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )

    def _bind_places(self) -> None:
        # Pods may ask for mount propagation: among themselves, not to the machine.
        _run("mount", "--make-rshared", "/")
        for place in PLACES:
            own = self._directory / "places" / place.lstrip("/")
            own.mkdir(parents=True)
            _run("mount", "--bind", str(own), place)
        for name, value in SYSCTLS.items():
            own = write_file(self._directory / "sysctls" / name.replace("/", "."), f"{value}\n")
            _run("mount", "--bind", str(own), f"/proc/sys/{name}")

    def _start_runtime(self, images: Sequence[Path]) -> None:
        directory = self._directory
        socket = directory / "run/containerd.sock"
        self._spawn("containerd", "containerd", f"--config={directory}/containerd.toml")
        self._await("containerd", socket.exists)
        for image in images:
            import_image = ("images", "import", "--all-platforms", str(image))
            _run("ctr", f"--address={socket}", "--namespace=k8s.io", *import_image)

    def _start_node(self) -> None:
        directory = self._directory
        self._start(
            "kubelet",
            f"--config={directory}/kubelet.yaml",
            f"--kubeconfig={kubeconfig(directory, NODE)}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--root-dir={directory}/kubelet",
            f"--cert-dir={directory}/kubelet/pki",
        )
        self._start("kube-proxy", f"--config={directory}/proxy.yaml")
        self._await("the registration of the node", self._has("node", NODE))
        # Only to enforce network policies.
        self._spawn(
            "kube-router",
            str(self._programs.bin / "kube-router"),
            f"--kubeconfig={kubeconfig(directory)}",
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--enable-cni=false",
            "--enable-ipv6=false",
            f"--hostname-override={NODE}",
            f"--service-cluster-ip-range={SERVICES}",
            "--health-port=0",
        )
        condition = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        self._await("the node", lambda: self._kubectl("get", "node", NODE, condition) == "True")

    def _start(self, name: str, *arguments: str) -> None:
        self._spawn(name, str(self._programs.bin / name), *arguments)

    def _spawn(self, name: str, *command: str) -> None:
        with write_file(self._directory / f"logs/{name}.log", "").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)
        self._started[process.pid] = name

    def _await(self, what: str, is_there: Callable[[], object]) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not is_there():
            self._notice(*os.waitpid(-1, os.WNOHANG))
            if time.monotonic() > deadline:
                sys.exit(f"{what} is not there after {START_SECONDS_MAX:g} s")
            time.sleep(POLL_SECONDS)

    def _notice(self, pid: int, status: int) -> None:
        """End with a component that has ended; others are children of pods' shims."""
        name = self._started.get(pid)
        if name is not None:
            code = os.waitstatus_to_exitcode(status)
            tail = (self._directory / f"logs/{name}.log").read_text(errors="replace")[-2000:]
            sys.exit(f"{name} ended with {code}: {tail}")

    def _has(self, kind: str, name: str) -> Callable[[], object]:
        return lambda: self._kubectl("get", kind, name)

    def _kubectl(self, *arguments: str) -> str:
        options = (f"--kubeconfig={kubeconfig(self._directory)}", "--request-timeout=5s")
        command = [str(self._programs.bin / "kubectl"), *options, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""


def _set_up_network() -> None:
    _run("ip", "link", "set", "lo", "up")
    # A bridge without ports carries the node's address: not every kernel has dummy links.
    _run("ip", "link", "add", "node0", "type", "bridge")
    _run("ip", "address", "add", f"{NODE_ADDRESS}/{NETWORK_BITS}", "dev", "node0")
    _run("ip", "link", "set", "node0", "up")
    _run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")


if __name__ == "__main__":
    Node(Path(sys.argv[1]), Programs(Path(sys.argv[2]))).run([Path(one) for one in sys.argv[3:]])
