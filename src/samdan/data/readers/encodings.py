"""Bytes to text: UTF-8, UTF-16 with its mark, CP949; anything else is refused, never guessed."""

from __future__ import annotations

from typing import Final

from samdan.data.readers.file import Refused

BOM: Final = b"\xef\xbb\xbf"
# What a charset is called outside, and the codec for it. EUC-KR is read as its superset CP949.
CODECS: Final = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("euc-kr", "euckr", "cp949", "ms949", "uhc", "windows-949"), "cp949"),
    **dict.fromkeys(("x-windows-949", "korean", "ks_c_5601", "ks_c_5601-1987"), "cp949"),
    **dict.fromkeys(("ks_c_5601-1989", "ksc5601", "ksc_5601"), "cp949"),
    "iso-2022-kr": "iso2022_kr",
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "windows-31j"), "cp932"),
    "euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp",
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    "big5": "big5",
    **dict.fromkeys(("iso-8859-1", "latin1", "windows-1252", "cp1252"), "cp1252"),
    "iso-8859-15": "iso8859_15",
}
# The commonest syllables: about a third of any Korean text, a hundredth of bytes of another
# language that happen to be CP949.
COMMON: Final = frozenset("이다는의에가을를은하고기로지도서사한인대자어해리시있아나라정")
FEW: Final = 20


def decode(data: bytes, declared: str = "") -> tuple[str, tuple[str, ...]]:
    """Text, and a note where it was converted. Raises Refused: ``nul_byte``, ``invalid_utf8``.

    ``declared``: the charset that a page or a mail claims; it is believed where the bytes are not
    UTF-8, which no text in another charset is by accident.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and not data.startswith(b"\xff\xfe\0\0"):
        try:
            return data.decode("utf-16"), ("converted_utf16",)
        except UnicodeDecodeError as error:
            raise Refused("invalid_utf16", str(error)) from None
    data = data.removeprefix(BOM)
    if b"\0" in data:
        raise Refused("nul_byte", f"at byte {data.index(0)}; a text in UTF-16 without its mark?")
    try:
        return data.decode(), ()
    except UnicodeDecodeError as error:
        fault = f"byte {error.start}: {error.reason}"
    codec = CODECS.get(declared.strip().strip("'\"").lower(), "utf-8")
    for name in dict.fromkeys((codec, "cp949")):
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        if name == codec != "utf-8" or _is_korean(text):
            return text, (f"converted_{name}",)
    raise Refused("invalid_utf8", f"{fault}; and it is no Korean text in CP949. Save it as UTF-8")


def _is_korean(text: str) -> bool:
    """Whether what could be decoded as CP949 was meant so: Chinese and Latin often can be."""
    foreign = [c for c in text if c > "\x7f"]
    hangul = sum("가" <= c <= "힣" for c in foreign)
    if 2 * hangul < len(foreign):
        return False
    return hangul < FEW or sum(c in COMMON for c in foreign) > hangul / 12
