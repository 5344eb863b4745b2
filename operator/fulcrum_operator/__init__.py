"""The operator: decisions, engines and the `fulcrum` command. It never needs torch."""
