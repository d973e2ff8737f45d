"""What accounts have sent of late, told from the queue: their budgets survive a restart (:mod:`mailx.core.limits`)."""

from mailx.store import Row, Txn

_SENT = (
    "SELECT d.created, count(*) FROM dispatches d JOIN queue q ON q.dispatch_id = d.id WHERE {} AND d.created > ? GROUP BY d.id, d.created"
)
_OF_ACCOUNT = f"{_SENT} ORDER BY d.created".format("d.account_id = ?")
_OF_DOMAIN = f"{_SENT} ORDER BY d.created".format(
    "d.account_id IN (SELECT a.id FROM accounts a JOIN domains n ON n.id = a.domain_id WHERE n.name = ?)"
)


def by_account(txn: Txn, account: int, since: int) -> list[Row]:
    """(seconds since 1970, recipients on other servers) of each message that the account sent after ``since``, in order."""
    return txn.all(_OF_ACCOUNT, (account, since))


def by_domain(txn: Txn, domain: str, since: int) -> list[Row]:
    """The same of all accounts of a domain."""
    return txn.all(_OF_DOMAIN, (domain, since))
