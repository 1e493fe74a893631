"""What every floor reads: block configurations, error types and file formats."""
