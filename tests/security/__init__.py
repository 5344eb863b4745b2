"""What hostile models, data and evidence can do, tried."""
