"""Real nodes on this machine: kubelet and containerd beside the control plane of `cluster`.

Each node is a set of namespaces (processes, mounts, network) that its first process holds. So a
node has its own `/run`, `/var/lib`, interfaces and routes, and ends with that process: the kernel
takes everything back, also after a crash. Nodes have no default route: what runs in pods reaches
other pods, Services and this machine's end of the bridge, and nothing beyond. It needs root.
"""
