"""Floor 0: what every block must compute, bit for bit; number formats; models."""
