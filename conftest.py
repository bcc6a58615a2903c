"""The test run's shared ground."""

pytest_plugins = ["liaison_kit.testing"]
