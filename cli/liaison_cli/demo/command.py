"""`liaison demo`: fill the tenant that you are signed in to with a company to look around in."""

from typing import Annotated

import typer


def demo(
    companies: Annotated[int, typer.Option(min=1, max=20_000, help="How many companies.")] = 300,
    people: Annotated[int, typer.Option(min=1, max=500_000, help="How many people.")] = 3000,
    years: Annotated[int, typer.Option(min=1, max=20, help="How many years of deals.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed makes another company up.")] = 42,
) -> None:
    """Fill your organisation with a believable company, made up from a seed.

    The same seed on the same day makes the same company. Run again, it finds it there already.
    """
    # Made-up names take a while to load, which no other command should wait for.
    from liaison_cli.demo.book import Size
    from liaison_cli.demo.load import load

    load(Size(companies, people, years, seed))
