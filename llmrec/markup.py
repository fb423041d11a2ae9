"""Text of web pages as people read it."""

import html
import re

_UNSEEN = r"<!--.*?(?:-->|\Z)|<(style|script)\b.*?(?:</\1\s*>|\Z)"
_TAGS = (
    "a|b|big|blockquote|br|center|code|dd|div|dl|dt|em|font|h[1-6]|hr|i|img|li|ol|p|pre|small|span|strong|sub|sup|"
    "table|tbody|td|th|thead|tr|u|ul"
)
_MARKUP = re.compile(rf"{_UNSEEN}|</?[a-z][^<>]*>", re.DOTALL | re.IGNORECASE)
# Of what entities hid only tags of HTML are markup; other angle brackets were hidden because they are meant.
_HIDDEN_MARKUP = re.compile(rf"{_UNSEEN}|</?(?:{_TAGS})(?:\s[^<>]*=[^<>]*)?\s*/?>", re.DOTALL | re.IGNORECASE)


def plain(text: str) -> str:
    """Comments, style sheets, scripts and tags gone, entities resolved, blanks single; ``5 < 6`` is no tag."""
    return " ".join(_HIDDEN_MARKUP.sub(" ", html.unescape(_MARKUP.sub(" ", text))).split())
