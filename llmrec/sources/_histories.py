"""Files with one user a line: his id, a tab, and his items with blanks between, oldest first."""

from collections.abc import Collection
from pathlib import Path

from llmrec.errors import DataError
from llmrec.sources._lines import rows

USER_NAMES = {"user", "userid", "uid"}
ITEM_NAMES = {"newsid", "itemid", "videoid", "id", "iid", "nid", "vid", "item", "news", "video"}


def read_histories(path: Path) -> dict[str, list[str]]:
    """The items of every user, in the order of the file; a header is not told apart here.

    Raises:
        DataError: a line with other fields, a user without items or with two lines.
    """
    log: dict[str, list[str]] = {}
    for number, (user, items) in rows(path, {2: "user, items with blanks between"}):
        if user in log:
            raise DataError(f"{path}, line {number}: user {user!r} has a second line; which comes first is not known")
        log[user] = items.split()
        if not (user and log[user]):
            raise DataError(
                f"{path}, line {number}: a line has a user and one item at least, found {items!r} of {user!r}"
            )
    return log


def drop_header(path: Path, log: dict[str, list[str]], known: Collection[str]) -> list[str]:
    """Takes line 1 out of the histories if it is a header, and says so.

    Args:
        path: of the file, for the note.
        log: items by user.
        known: ids of items; a line that has one of them is no header.
    """
    user, items = next(iter(log.items()))
    if bare(user) not in USER_NAMES or any(item in known for item in items):
        return []
    del log[user]
    return [f"{path.name}: line 1 is a header ({user}), no user"]


def bare(name: str) -> str:
    """The name of a column without case, blanks and underscores."""
    return name.strip().lower().replace("_", "")
