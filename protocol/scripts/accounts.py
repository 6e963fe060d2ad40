"""``GET /v1/accounts``: the operator looks at the accounts."""

from typing import Any

import msgspec

from protocol.call import Call
from protocol.effects import Answer, Script, check_credentials
from protocol.identity.accounts import Account
from protocol.identity.roster import Roster
from protocol.identity.standing import AccountSnapshot
from protocol.values import ResponseHead


def list_accounts(call: Call, roster: Roster) -> Script:
    """Every account as it is now: the files are looked at before, all at the same time. No renewal is waited for."""
    now = call.at
    to_look_at = [account for account in roster if not account.fresh(now)]
    for account in to_look_at:
        now = yield from check_credentials(account.name, wait=False)
    for account in to_look_at:
        now = yield from check_credentials(account.name, renewal=False)
    shown = [described(roster[snapshot.name], snapshot, call.wall_at(now)) for snapshot in roster.snapshots(now)]
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    yield Answer(ResponseHead(200, headers), msgspec.json.encode({"accounts": shown}))


def described(account: Account, snapshot: AccountSnapshot, wall: float) -> dict[str, Any]:
    """One account as JSON: where its credential is from and of what kind, then what the pool knows.

    ``kind`` is ``oauth``, ``api_key`` or null; ``expires_at`` is in epoch seconds, null where nobody knows. An account
    that ``needs_login`` has no credential, or one that nothing can prolong any more.
    """
    credential, refresher = account.credential, account.refresher
    about = {
        "home": account.home,
        "kind": None if credential is None else credential.kind.value,
        "source": account.source or None,
        "expires_at": None if credential is None else credential.expires_at,
        "expired": credential is not None and not account.usable(wall),
        "renewable": account.renewable,
        "needs_login": credential is None or (refresher is not None and refresher.needs_login),
    }
    known: dict[str, Any] = msgspec.to_builtins(snapshot)
    return {"name": known.pop("name"), **about, **known}
