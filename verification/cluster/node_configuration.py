"""The files by which the node's components find and trust each other."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from verification.cluster.programs import PAUSE_IMAGE

# Of the documentation and benchmark ranges, in a network without a way out.
NODE, NODE_ADDRESS, NETWORK_BITS = "node", "198.51.100.1", 24
PODS, SERVICES = "203.0.113.0/24", "198.18.0.0/24"
CNI_PLUGINS = Path("/usr/lib/cni")
# Group of each user: the components identify themselves by tokens.
USERS: Mapping[str, str] = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "system:node-proxier",
    f"system:node:{NODE}": "system:nodes",
}


def kubeconfig(directory: Path, user: str = "admin") -> Path:
    """The file with which this user reaches the API server."""
    return directory / f"{user.split(':')[-1]}.conf"


def write_configuration(directory: Path, cgroup: str) -> None:
    """Write the configuration of all components. JSON is YAML."""
    _write_users(directory)
    socket = f"unix://{directory}/run/containerd.sock"
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "address": NODE_ADDRESS,
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(write_file(directory / "resolv.conf", "")),
        "containerRuntimeEndpoint": socket,
        "imageServiceEndpoint": socket,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "podLogsDir": str(directory / "logs/pods"),
        "volumePluginDir": str(directory / "plugins"),
        # No image is ever removed: there is no registry to pull it from.
        "imageGCHighThresholdPercent": 100,
        "imageMaximumGCAge": "0s",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
        # A changed secret reaches the pod within this time, and not within the usual minute.
        "syncFrequency": "10s",
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(kubeconfig(directory, "system:kube-proxy"))},
        "clusterCIDR": PODS,
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    addresses = {
        "type": "host-local",
        "dataDir": str(directory / "run/addresses"),
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    # Point to point: traffic between pods passes the chains of the node, where policies are.
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    write_file(directory / "kubelet.yaml", json.dumps(kubelet))
    write_file(directory / "proxy.yaml", json.dumps(proxy))
    write_file(directory / "cni/10-pods.conflist", json.dumps(network))
    write_file(directory / "containerd.toml", _containerd(directory))


def _write_users(directory: Path) -> None:
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [f'{token},"{user}","{user}","{USERS[user]}"\n' for user, token in tokens.items()]
    write_file(directory / "tokens.csv", "".join(lines))
    server = {
        "server": f"https://{NODE_ADDRESS}:6443",
        "certificate-authority": str(directory / "pki/apiserver.crt"),
    }
    for user, token in tokens.items():
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": server}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        write_file(kubeconfig(directory, user), json.dumps(config))


def _containerd(directory: Path) -> str:
    # restrict_oom_score_adj: where the machine lacks CAP_SYS_RESOURCE a container with a lowered
    # score would not start.
    return f"""\
version = 2
root = "{directory}/containerd"
state = "{directory}/run/containerd"
[grpc]
  address = "{directory}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{directory}/cni"
"""


def write_file(file: Path, text: str) -> Path:
    """Write a file that nobody else may read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return file
