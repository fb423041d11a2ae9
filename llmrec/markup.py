"""Text of web pages as people read it."""

import html
import re

_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|<(style|script)\b.*?(?:</\1\s*>|\Z)|</?[a-z][^<>]*>", re.DOTALL | re.IGNORECASE
)
_TAGS = "a|b|big|br|center|div|em|font|h[1-6]|hr|i|img|li|ol|p|small|span|strong|sub|sup|table|tbody|td|th|tr|u|ul"
# Of what entities hid only tags of HTML are markup; other angle brackets were hidden because they are meant.
_HIDDEN_MARKUP = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.IGNORECASE)


def plain(text: str) -> str:
    """Comments, style sheets, scripts and tags gone, entities resolved, blanks single; ``5 < 6`` is no tag."""
    return " ".join(_HIDDEN_MARKUP.sub(" ", html.unescape(_MARKUP.sub(" ", text))).split())
