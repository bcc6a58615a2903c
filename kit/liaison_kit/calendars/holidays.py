"""Public holidays by country and subdivision, as the library `holidays` knows them."""

import datetime as dt
from functools import cache, lru_cache


@cache
def known(country: str | None, subdivision: str | None) -> bool:
    """Whether the holidays of this country, and this part of it, are known."""
    if country is None:
        return subdivision is None
    # Loaded by those processes only that ask for holidays.
    from holidays import list_supported_countries

    parts = list_supported_countries(include_aliases=False).get(country)
    return parts is not None and (subdivision is None or subdivision in parts)


@lru_cache(maxsize=1000)
def of(country: str | None, subdivision: str | None, year: int) -> frozenset[dt.date]:
    """The days of a year that are public holidays."""
    if country is None:
        return frozenset()
    from holidays import country_holidays

    return frozenset(country_holidays(country, subdiv=subdivision, years=year))
