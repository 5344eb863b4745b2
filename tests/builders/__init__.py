"""Realistic values for tests, so that a test names only what it is about.

`make_evidence()` is one whole job that goes well: a residual CNN on MNIST, channels pruned by half,
fine-tuned, int8. Every builder takes changes of its result's own fields by keyword and checks the
outcome, so that a test cannot build what a stage could not record. Nothing here is random.
"""
