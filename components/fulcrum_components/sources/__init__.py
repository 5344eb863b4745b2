"""How files and code that users name come in: fetched, digested and guarded.

`models` and `data` both need this and must not need each other for it.
"""
