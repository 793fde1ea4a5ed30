"""What a page's script does to text from models: characters that do not show become marks.

The same characters as ``samdan.report.markup`` marks on pages that are made before they are sent.
"""

from __future__ import annotations

from typing import Final

from samdan.report.markup import HIDDEN

_CLASS: Final = "".join(rf"\u{{{first:x}}}-\u{{{last:x}}}" for first, last in HIDDEN)
SCRIPT: Final = r"""function marked(text) {
  return text.replace(/\r\n/g, '\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, function (one) {
    return String.fromCharCode(one === '\u007f' ? 0x2421 : 0x2400 + one.charCodeAt(0));
  }).replace(/[HIDDEN]/gu, function (one) {
    return '\u27e8U+' + one.codePointAt(0).toString(16).toUpperCase().padStart(4, '0') + '\u27e9';
  });
}
""".replace("HIDDEN", _CLASS)
