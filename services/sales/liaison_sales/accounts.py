"""The accounts: companies as contacts tells them, kept so that lists and files can name them."""

from liaison_kit.copies import KeptCopy
from liaison_kit.sight import Seen
from liaison_sales.models import Account
from liaison_sdk.contracts.contacts import CompaniesSaved, CompanyRemoved, CompanyRestored
from liaison_sdk.contracts.questions import KnownCompanies

ACCOUNTS_SEEN = Seen("companies", "seen_accounts")
"""The companies that the person who asks may see."""

ACCOUNTS = KeptCopy(
    "companies",
    Account,
    saved=CompaniesSaved,
    removed=CompanyRemoved,
    restored=CompanyRestored,
    known=KnownCompanies,
    found_by=("name", "external_id"),
    seen=ACCOUNTS_SEEN,
)
"""Opportunities let go of a company that is deleted, until it is back."""
