"""One module a stage: each reads the plan, calls the library, and returns what it measured."""
