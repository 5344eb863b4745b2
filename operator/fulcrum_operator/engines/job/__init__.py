"""The engine `job`: each attempt is one Kubernetes Job, on any cluster.

The compiled pipeline runs whole inside one pod, as it does on a laptop, so nothing of Kubeflow is
needed. Where a job measures on other hardware than it computes on there are two Jobs, one after the
other. Kubernetes never tries again by itself: what another attempt may help against is decided by
the class of the failure, which the pod's exit code tells.

`pod` is what runs in the pod. It must load nothing of the operator's framework, so nothing is
imported here.
"""
