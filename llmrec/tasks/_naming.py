"""How notes name what was left out."""

from collections.abc import Iterable

_NAMED = 3


def some(ids: Iterable[object]) -> str:
    """The first few of many, for a note or an error."""
    named = [str(each) for each in ids]
    return ("such as " if len(named) > _NAMED else "") + ", ".join(named[:_NAMED])


def counted(ids: Iterable[object], what: str, of: str = "users") -> list[str]:
    """One note, ``12 users without a label, such as u1, u2, u3``, or none where there are none."""
    named = [str(each) for each in ids]
    return [f"{len(named):,} {of if len(named) != 1 else of.removesuffix('s')} {what}: {some(named)}"] if named else []
