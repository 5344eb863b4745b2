"""The engine `kubeflow`: jobs as runs of Kubeflow Pipelines, one pod a stage.

Its API does not do all that it promises. Everything here rests on the observed behaviour of a
server of version 2.17, which `tests/kubeflow` records: names are not unique, the same run asked
for twice starts two Workflows, a run that waits for a node says that it is running, and one that
was stopped says that it failed. An id of a deleted run brings back its parameters. So the operator
chooses a new id for each run, puts it on file, asks for it at most once, believes the store for
results, and the pods for what it is waiting for.

This package is imported only where the engine is configured, since its client costs memory.
"""
