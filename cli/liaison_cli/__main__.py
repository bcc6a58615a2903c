"""`python -m liaison_cli` is the same as `liaison`."""

from liaison_cli.main import app

if __name__ == "__main__":
    app(prog_name="liaison")
