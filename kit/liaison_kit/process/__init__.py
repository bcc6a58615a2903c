"""What every service process has: roles, metrics, health, threads for long computations."""
