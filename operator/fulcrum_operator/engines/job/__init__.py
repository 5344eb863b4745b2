"""The engine `job`: each attempt is one Kubernetes Job, on any cluster.

The compiled pipeline runs whole inside one pod, as it does on a laptop, so nothing of Kubeflow is
needed. If a job measures on other hardware than it computes on, it has two Jobs, one after the
other. Kubernetes never retries by itself: the class of the failure decides whether another attempt
may help, and the pod's exit code gives the class.

`pod` runs in the pod. It must load nothing of the operator's framework, so nothing is
imported here.
"""
