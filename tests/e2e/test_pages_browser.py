"""Every page in a real browser: text of the data is text, and everybody can read and use it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from browser import Tab, browser
from pages import every_page
from samdan.pages.marks import SCRIPT
from samdan.report.markup import many_lines

pytestmark = pytest.mark.browser

NAMES = ("report", "compare", "watch", "chat", "judge")
OTHER = "http://127.0.0.1:9/"  # nobody listens
HOSTILE = (
    "#<script>hit('script')</script></script></style></title></textarea>"
    "<img src=x onerror=hit('i')><svg onload=hit('svg')></svg>"
    "<iframe srcdoc='<script>1</script>'></iframe>"
    "<a href=\"javascript:hit('a')\">a</a><form action=javascript:hit('f')><button>go</button>"
    "\" onmouseover=hit('o') autofocus onfocus=hit('p') x=' onclick=hit('q') "
    f"[link](javascript:hit('m')) ![image]({OTHER}i.png) "
    f"<style>*{{background:url({OTHER}c)}}</style>"
    f"<link rel=stylesheet href={OTHER}l><meta http-equiv=refresh content='0;url={OTHER}r'>"
    "${hit('t')} {{hit('u')}} \u202egnirts\u2066in\u2069 zero\u200b\ufeffwidth "
    "\x1b[31mred\x1b]0;title\x07 \x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\ \x9b2J "
    + "Z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309" * 40 + " " + "W" * 3000
)  # fmt: skip
# Told by the browser itself before the page's own script runs, whatever the page's policy is.
HOOK = """
window.hits=[];window.hit=function(what){hits.push(String(what));};
['alert','confirm','prompt','open'].forEach(function(name){window[name]=function(){hit(name);};});
document.addEventListener('securitypolicyviolation',function(event){
hit('policy: '+event.violatedDirective+' '+event.blockedURI);});
"""
EVERYTHING = """(()=>{
document.querySelectorAll('details').forEach(one=>one.open=true);
document.querySelectorAll('body *').forEach(one=>{
for(const kind of ['mouseover','mouseenter','focus'])
one.dispatchEvent(new Event(kind,{bubbles:true}));
});})()"""
RAW = r"/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u202a-\u202e\u2066-\u2069\ufeff]/"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.send("Page.addScriptToEvaluateOnNewDocument", source=HOOK)
        yield opened


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with every_page(tmp_path_factory.mktemp("plain")) as found:
        yield found


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    count = iter(range(10**6))
    with every_page(tmp_path_factory.mktemp("hostile"), lambda: f"{next(count)}{HOSTILE}") as found:
        yield found


def come(tab: Tab, name: str, address: str, lang: str = "en") -> None:
    """Opens a page, and brings it to where it shows text of the data."""
    tab.language(lang)
    tab.open(address)
    if name == "watch":
        tab.until("document.querySelector('[data-block=now]').textContent")
    elif name == "chat":
        tab.until("document.querySelector('#model').options.length===2")
        tab.js("document.querySelector('#text').value='안녕';document.querySelector('#send').click()")
        tab.until("document.querySelector('#send').disabled===false")
    elif name == "judge":
        tab.until("document.querySelector('#who').textContent||!document.querySelector('#start').hidden")
        tab.js(
            "(()=>{if(document.querySelector('#start').hidden)return;"
            "document.querySelector('#name').value='kim';"
            "document.querySelector('#start button').click()})()"
        )
        tab.until("!document.querySelector('#judge').hidden")
        tab.until("document.querySelector('[data-choice]').disabled===false")


# -- text of strangers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_is_shown_and_does_nothing(
    tab: Tab, hostile: Mapping[str, str], name: str
) -> None:
    tab.screen(1280, 800)
    tab.events.clear()
    come(tab, name, hostile[name])
    tab.js(EVERYTHING)
    tab.js("new Promise(done=>setTimeout(done,200))")
    assert tab.js("hits") == []
    assert tab.complaints() == []
    assert [e for e in tab.events if e.get("method") == "Page.javascriptDialogOpening"] == []
    own = hostile[name].split("?")[0].rsplit("/", 1)[0]
    others = [url for url in tab.requested() if not url.startswith((own, "data:", "about:"))]
    assert others == []
    shown = tab.js("document.body.innerText")
    for part in ("<script>hit('script')</script>", "javascript:hit('m')",
                 "\u27e8U+202E\u27e9gnirts", "\u27e8U+200B\u27e9", "\u241b[31mred"):  # fmt: skip
        assert part in shown
    assert not tab.js(f"{RAW}.test(document.documentElement.textContent)")
    links = tab.js("[...document.querySelectorAll('a[href]')].map(a=>a.getAttribute('href'))")
    assert all(link.startswith("#") for link in links)
    assert tab.js("document.querySelectorAll('iframe,img,object,embed,base').length") == 0
    given = "[...document.querySelectorAll('*')].flatMap(e=>[...e.attributes]).map(a=>a.name)"
    names = tab.js(f"[...new Set({given})]")
    assert [name for name in names if name.startswith("on") or name == "style"] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_very_long_words_do_not_make_a_page_wider(
    tab: Tab, hostile: Mapping[str, str], name: str, phone: bool
) -> None:
    tab.screen(390 if phone else 1440, 844, phone=phone)
    come(tab, name, hostile[name])
    assert tab.js("document.documentElement.scrollWidth") <= (390 if phone else 1440)


def test_pages_that_a_script_fills_mark_the_same_characters(tab: Tab) -> None:
    tab.open("about:blank")
    tab.js(f"{SCRIPT}window.marked=marked;1")
    codes = [*range(0x100), *range(0x600, 0x620), *range(0x1800, 0x1810), *range(0x2000, 0x2070),
             0x3164, 0xFEFF, 0xFFA0, *range(0xFFF0, 0x10000), *range(0xE0000, 0xE0080)]  # fmt: skip
    found = tab.js(f"{json.dumps(codes)}.map(c=>marked(String.fromCodePoint(c)))")
    pairs = zip(codes, found, strict=True)
    assert [hex(code) for code, shown in pairs if shown != many_lines(chr(code))] == []


# -- everybody can read it -------------------------------------------------------------------------

CONTRAST = """(()=>{
const parse=t=>{const m=t.match(/[\\d.]+/g).map(Number);return m.length>3?m:[m[0],m[1],m[2],1];};
const over=(top,low)=>[0,1,2].map(i=>top[i]*top[3]+low[i]*(1-top[3])).concat(1);
const light=c=>{const l=c.slice(0,3).map(v=>v/255).map(v=>v<=.04045?v/12.92:((v+.055)/1.055)**2.4);
return .2126*l[0]+.7152*l[1]+.0722*l[2];};
const ground=one=>{const all=[];for(let e=one;e;e=e.parentElement)
all.push(parse(getComputedStyle(e).backgroundColor));
let c=document.documentElement.matches('html')&&matchMedia('(prefers-color-scheme: dark)').matches?
[18,18,18,1]:[255,255,255,1];
for(const g of all.reverse())c=over(g,c);return c;};
const bad=[],seen=new Set();
const walk=document.createTreeWalker(document.body,NodeFilter.SHOW_TEXT);
let count=0;
while(walk.nextNode()){
const one=walk.currentNode.parentElement;
if(!walk.currentNode.data.trim()||/^(SCRIPT|STYLE|NOSCRIPT|TITLE|DESC|OPTION)$/i.test(one.tagName))continue;
if(!one.checkVisibility({opacityProperty:true,visibilityProperty:true}))continue;
if(one.closest('.hide,.unseen,:disabled'))continue;
count++;
const style=getComputedStyle(one),back=ground(one);
let opacity=1;for(let e=one;e;e=e.parentElement)opacity*=+getComputedStyle(e).opacity;
const fore=parse(one instanceof SVGElement?style.fill:style.color);fore[3]*=opacity;
const a=light(over(fore,back)),b=light(back),ratio=(Math.max(a,b)+.05)/(Math.min(a,b)+.05);
const size=parseFloat(style.fontSize),large=size>=24||(size>=18.66&&+style.fontWeight>=700);
if(ratio<(large?3:4.5)){
const told=one.tagName+'.'+one.getAttribute('class')+' '+ratio.toFixed(2)+' '+
walk.currentNode.data.trim().slice(0,30);if(!seen.has(told)){seen.add(told);bad.push(told);}}
}
return {count,bad};})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_text_has_the_contrast_that_wcag_asks_for(
    tab: Tab, plain: Mapping[str, str], name: str, dark: bool
) -> None:
    tab.screen(1280, 800, dark=dark)
    come(tab, name, plain[name])
    tab.js("document.querySelectorAll('details').forEach(one=>one.open=true)")
    found = tab.js(CONTRAST)
    assert found["count"] > 5
    assert found["bad"] == []


def test_a_text_that_is_too_faint_is_found(tab: Tab, plain: Mapping[str, str]) -> None:
    """The negative control of the measurement."""
    tab.screen(1280, 800)
    come(tab, "report", plain["report"])
    tab.js("document.querySelector('h1 bdi').style.color='#999'")
    assert len(tab.js(CONTRAST)["bad"]) == 1


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("name", NAMES)
def test_one_heading_a_language_and_words_for_every_drawing(
    tab: Tab, plain: Mapping[str, str], name: str, lang: str
) -> None:
    tab.screen(1280, 800)
    if name == "judge":
        tab.language(lang)
        tab.open(plain[name])
        tab.js("localStorage.clear()")
    come(tab, name, plain[name], lang)
    assert tab.js("document.documentElement.lang") == lang
    assert tab.js("[...document.querySelectorAll('h1')].filter(h=>h.checkVisibility()).length") == 1
    drawings = tab.js(
        "[...document.querySelectorAll('svg')].filter(one=>!one.closest('[aria-hidden=true]'))"
        ".map(one=>[one.getAttribute('role'),(one.querySelector('title')||{}).textContent||''])"
    )
    assert all(role == "img" and title.strip() for role, title in drawings)
    unnamed = (
        "[...document.querySelectorAll('button,input,select,textarea,progress')]"
        ".filter(one=>one.checkVisibility()&&!one.textContent.trim()&&!one.getAttribute('aria-label')"
        "&&!(one.labels&&one.labels.length)).map(one=>one.outerHTML)"
    )
    assert tab.js(unnamed) == []
    other = {"en": "[가-힣]", "ko": "Search|Held-out|Ready|Question|Model"}[lang]
    own = "[...document.querySelectorAll('button,h2,th,summary,option,label')]"
    shown = tab.js(f"{own}.filter(e=>e.checkVisibility()).map(e=>e.innerText).join(' ')")
    shown = shown.replace("한국어", "").replace("텍스트", "")
    assert not tab.js(f"/{other}/.test({json.dumps(shown)})"), shown


FOCUS = """(()=>{const one=document.activeElement;
if(!one||one===document.body||one===document.documentElement)return null;
const style=getComputedStyle(one);
return {tag:one.tagName,id:one.id,does:one.dataset.do||'',text:(one.textContent||'').slice(0,20),
seen:(style.outlineStyle!=='none'&&parseFloat(style.outlineWidth)>0)||one.classList.contains('text'),
inside:one.checkVisibility()};})()"""


def from_the_top(tab: Tab) -> None:
    tab.js("(()=>{const top=document.body;top.tabIndex=-1;top.focus();scrollTo(0,0)})()")


def tabbed(tab: Tab, most: int = 60) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(most):
        tab.press("Tab")
        now = tab.js(FOCUS)
        if now is None:
            break
        found.append(now)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_reached_by_keyboard_and_seen_to_be(
    tab: Tab, plain: Mapping[str, str], name: str
) -> None:
    tab.screen(1280, 800)
    come(tab, name, plain[name])
    from_the_top(tab)
    reached = tabbed(tab)
    assert all(one["seen"] and one["inside"] for one in reached), reached
    wanted = tab.js(
        "[...document.querySelectorAll('a[href],button,input,select,textarea,summary')]"
        ".filter(one=>one.checkVisibility()&&!one.disabled).length"
    )
    assert len([one for one in reached if one["tag"] not in ("MAIN", "DIV", "DD", "PRE")]) >= min(
        wanted, 50
    )
    does = {one["does"] or one["id"] for one in reached}
    assert "language" in does
    if name == "report":
        assert {"find", "which", "theme"} <= does
        assert "SUMMARY" in {one["tag"] for one in reached}


def test_the_report_is_used_by_keyboard_alone(tab: Tab, plain: Mapping[str, str]) -> None:
    tab.screen(1280, 800)
    come(tab, "report", plain["report"])
    shown = "[...document.querySelectorAll('.sample')].filter(one=>!one.hidden).length"

    def go_to(condition: str) -> None:
        from_the_top(tab)
        for _ in range(80):
            tab.press("Tab")
            if tab.js(f"document.activeElement.matches({condition!r})"):
                return
        raise AssertionError(condition)

    go_to("[data-do=language]")
    tab.press("Enter")
    assert tab.js("document.documentElement.lang") == "ko"
    assert tab.js("document.querySelector('[data-do=find]').placeholder").startswith("질문")
    assert tab.js("document.querySelector('[data-do=which] option').textContent") == "전체"
    go_to("summary")
    tab.press("Enter")
    assert tab.js("document.activeElement.parentNode.open") is True
    go_to("[data-do=find]")
    before = tab.js(shown)
    tab.write("질문 7")
    tab.until(f"{shown}===1")
    assert before > 5
    assert tab.js("document.querySelector('#samples details').open") is True


@pytest.mark.parametrize("name", NAMES)
def test_nothing_moves_for_who_asked_for_stillness(
    tab: Tab, plain: Mapping[str, str], name: str
) -> None:
    come(tab, name, plain[name])
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    tab.send("Emulation.setEmulatedMedia", features=[still])
    moving = (
        "[...document.querySelectorAll('*')].filter(one=>{const s=getComputedStyle(one);"
        "return s.animationName!=='none'||s.transitionDuration.split(',').some(t=>parseFloat(t)>0)"
        "||s.scrollBehavior==='smooth'}).length"
    )
    assert tab.js(moving) == 0


# -- on paper --------------------------------------------------------------------------------------


def test_what_is_folded_is_printed_and_most_of_many_answers_are_not(
    tab: Tab, tmp_path: Path
) -> None:
    from pages import plain_report
    from samdan.report import render

    report = plain_report()
    report["samples"] = [{"prompt": f"질문 {n}", "answers": {"base": "a"}} for n in range(200)]
    (tmp_path / "r.html").write_text(render(report, "en"), "utf-8")
    tab.open((tmp_path / "r.html").as_uri())
    tab.send("Emulation.setEmulatedMedia", media="print")
    tab.js("dispatchEvent(new Event('beforeprint'))")
    shown = "[...document.querySelectorAll('.sample')].filter(one=>one.checkVisibility()).length"
    assert tab.js(shown) == 40
    assert tab.js("document.querySelector('.unprinted').innerText").startswith("160 further")
    assert tab.js("[...document.querySelectorAll('#events table,#recipe pre')]"
                  ".every(one=>one.checkVisibility())")  # fmt: skip
    tab.js("dispatchEvent(new Event('afterprint'))")
    tab.send("Emulation.setEmulatedMedia", media="")
    assert tab.js("document.querySelectorAll('details[open]').length") == 0
    tab.js("document.querySelector('[data-do=find]').focus()")
    tab.write("질문 19")
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.js(shown) == 12  # 19, 119, and 190 to 199
    tab.send("Emulation.setEmulatedMedia", media="")
