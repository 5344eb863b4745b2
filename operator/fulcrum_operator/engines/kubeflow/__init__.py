"""The engine `kubeflow`: jobs as runs of Kubeflow Pipelines, one pod a stage.

What its API promises and what it does are two things. Everything here rests on what a server of
version 2.17 was seen to do, which `tests/kubeflow` keeps: names are not unique, the same run asked
for twice starts two Workflows, a run that waits for a node says that it is running, and one that
was stopped says that it failed. An id of a deleted run brings back its parameters. So the operator
chooses a new id for each run, puts it on file, asks for it at most once, believes the store for
results, and the pods for what it is waiting for.

This package is imported only where the engine is configured, since its client costs memory.
"""
