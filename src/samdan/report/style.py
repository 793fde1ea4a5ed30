"""The page's style sheet and its one script, both inline."""

from __future__ import annotations

import base64
import hashlib

LIGHT = """
color-scheme:light;--bg:#f6f6f3;--card:#fff;--ink:#1c2126;--soft:#59626b;--line:#dcdfdc;
--quiet:#eef0ed;--good:#11694a;--good-bg:#e3f1ea;--bad:#a8321a;--bad-bg:#f9e6e0;--care:#7d5700;
--care-bg:#f7edd3;--open:#2f5d92;--open-bg:#e4edf7;--cpt:#33669c;--sft:#1f7a80;--dpo:#76539f;
--other:#5d6670;--raw:#9fb4c8
""".replace("\n", "")
DARK = """
color-scheme:dark;--bg:#131619;--card:#1b1f23;--ink:#e5e8ea;--soft:#9ea8b0;--line:#30373d;
--quiet:#242a2f;--good:#62c998;--good-bg:#163327;--bad:#ff947a;--bad-bg:#421f17;--care:#e3b65a;
--care-bg:#3a2d12;--open:#8bb8e8;--open-bg:#1b2f45;--cpt:#78a9dc;--sft:#5fbdc2;--dpo:#b596dd;
--other:#98a2ab;--raw:#4d6074
""".replace("\n", "")

_BASE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth;scroll-padding-top:1rem}
html[lang=en] .k,html[lang=ko] .e{display:none}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 Pretendard,"Pretendard Variable",
Inter,system-ui,-apple-system,"Segoe UI","Noto Sans KR","Noto Sans CJK KR","Apple SD Gothic Neo",
"Malgun Gothic",NanumGothic,sans-serif;font-variant-numeric:tabular-nums;word-break:keep-all;
overflow-wrap:anywhere}
html[lang=ko] body{font-family:Pretendard,"Pretendard Variable","Noto Sans KR","Noto Sans CJK KR",
"Apple SD Gothic Neo","Malgun Gothic",NanumGothic,system-ui,sans-serif}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 24px}
h1,h2,h3,p,dl,dd,figure,ul{margin:0;padding:0}
h1{font-size:1.35rem;line-height:1.3;letter-spacing:-.01em}
h2{font-size:1.16rem;letter-spacing:-.01em;margin-bottom:.25rem}
h3{font-size:.98rem;display:flex;gap:.5rem;align-items:baseline;margin:1.4rem 0 .5rem}
section{margin-top:2.6rem}
code,pre,.mono{font:.86em/1.55 ui-monospace,"SF Mono",Menlo,Consolas,
"DejaVu Sans Mono",D2Coding,NanumGothicCoding,
monospace}
a{color:inherit}
.soft{color:var(--soft)}.small{font-size:.86rem}.nowrap{white-space:nowrap}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.card,.table{background:var(--card);border:1px solid var(--line);border-radius:8px}
.good{color:var(--good)}.bad{color:var(--bad)}.care{color:var(--care)}.open{color:var(--open)}
.pill{display:inline-block;padding:0 .5em;border-radius:1em;font-size:.8rem;line-height:1.6;
font-weight:600;white-space:nowrap;background:var(--quiet);color:var(--soft)}
.pill.good{background:var(--good-bg);color:var(--good)}
.pill.bad{background:var(--bad-bg);color:var(--bad)}
.pill.care{background:var(--care-bg);color:var(--care)}
.pill.open{background:var(--open-bg);color:var(--open)}
.cpt{--hue:var(--cpt)}.sft{--hue:var(--sft)}.dpo{--hue:var(--dpo)}.other{--hue:var(--other)}
.kind{color:var(--hue);font-weight:700}
button{font:inherit;font-size:.86rem;color:var(--ink);background:var(--card);cursor:pointer;
border:1px solid var(--line);border-radius:6px;padding:.25em .7em}
button:hover{border-color:var(--soft)}
:focus-visible{outline:2px solid var(--open);outline-offset:2px}
header{display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;padding-top:1.3rem}
header .tools{margin-left:auto;display:none;gap:.4rem}
.js header .tools{display:flex}
nav{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.88rem;margin-top:1.5rem;
padding:.55rem 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
nav a{color:var(--soft);text-decoration:none}nav a:hover{color:var(--ink);text-decoration:underline}
"""

_TOP = """
.verdict{margin-top:1rem;padding:1rem 1.2rem;border-radius:8px;border-left:6px solid;
background:var(--card)}
.verdict.good{background:var(--good-bg)}.verdict.bad{background:var(--bad-bg)}
.verdict.care{background:var(--care-bg)}.verdict.open{background:var(--open-bg)}
.verdict .title{font-size:1.5rem;font-weight:750;line-height:1.25;letter-spacing:-.015em}
.mark{display:inline-block;width:1.35em;height:1.35em;line-height:1.3em;margin-right:.5em;
text-align:center;border:2px solid;border-radius:50%;font-size:.8em;vertical-align:.1em}
.verdict ul{list-style:none;color:var(--ink);margin-top:.3rem}
.verdict .said{color:var(--ink);margin-top:.4rem;white-space:pre-wrap}
.kpis{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));margin-top:.9rem;
background:var(--card);gap:1px;border:1px solid var(--line);border-radius:8px;overflow:hidden}
.kpis div{box-shadow:0 0 0 1px var(--line);padding:.55rem .9rem}
.kpis dt{color:var(--soft);font-size:.8rem}
.kpis dd{font-size:1.16rem;font-weight:650;line-height:1.35;letter-spacing:-.01em}
.asks{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(290px,100%),1fr));gap:10px;
margin-top:1rem}
.ask-card{padding:.85rem 1.1rem 1rem;height:100%}
.ask{font-size:.86rem;font-weight:600;color:var(--soft);letter-spacing:0;margin:0}
.answer{font-size:1.5rem;font-weight:750;line-height:1.3;letter-spacing:-.015em;
margin:.15rem 0 .4rem}
.changes{list-style:none;font-size:.93rem}.changes li{padding:.08rem 0}
.moves li{display:grid;grid-template-columns:auto 1fr auto;gap:.4em;align-items:baseline}
.moves+.small{margin-top:.35rem}
.ask-card .said{white-space:pre-wrap;margin-top:.4rem}
.time{margin-top:.7rem;font-size:.86rem;color:var(--soft)}
.time svg{display:block;width:100%;height:12px;margin-bottom:.35rem}
.t-other{fill:var(--other)}.t-cpt{fill:var(--cpt)}.t-sft{fill:var(--sft)}.t-dpo{fill:var(--dpo)}
.t-rest{fill:var(--line)}
.ship .card{border-left:6px solid;color:var(--ink)}
.ship.good .card{background:var(--good-bg);border-color:var(--good)}
.ship.bad .card{background:var(--bad-bg);border-color:var(--bad)}
.ship.care .card{background:var(--care-bg);border-color:var(--care)}
.ship.open .card{background:var(--open-bg);border-color:var(--open)}
.ship .ask{color:var(--ink)}
.stair{display:grid;gap:10px;margin-top:1.2rem;padding:0;list-style:none;align-items:end}
.stair>*{min-width:0}
.tier{border-top:5px solid var(--hue);padding:.75rem 1rem .8rem;display:flex;
flex-direction:column;gap:.45rem}
.tier .head{display:flex;flex-wrap:wrap;gap:.1rem .5rem;align-items:baseline}
.tier .name{font-size:1.12rem;font-weight:700}
.tier .foot{margin-top:auto;padding-top:.5rem;border-top:1px solid var(--line);
color:var(--soft);font-size:.84rem}
.tier .line b{font-weight:650}
.ground{margin-top:10px;border-top:5px solid var(--soft);padding:.5rem 1rem;font-size:.88rem;
color:var(--soft)}
.ground b{color:var(--ink)}
.dots>*:not(:last-child)::after{content:" · ";color:var(--soft);font-weight:400}
.notes{margin-top:1rem;padding:.7rem 1.2rem;font-size:.9rem}
.notes ul{padding-left:1.1rem}
@media screen and (min-width:900px),print{
.stair.flat{grid-template-columns:repeat(auto-fit,minmax(min(280px,100%),1fr))}
.stair.n1{grid-template-columns:1fr}.stair.n2{grid-template-columns:repeat(2,minmax(0,1fr))}
.stair.n3{grid-template-columns:repeat(3,minmax(0,1fr))}
.stair.n4{grid-template-columns:repeat(4,minmax(0,1fr))}
.stair:not(.flat){align-items:stretch}
.stair:not(.flat) .tier:nth-child(1){margin-top:calc((var(--n) - 1)*22px)}
.stair:not(.flat) .tier:nth-child(2){margin-top:calc((var(--n) - 2)*22px)}
.stair:not(.flat) .tier:nth-child(3){margin-top:calc((var(--n) - 3)*22px)}
.n1{--n:1}.n2{--n:2}.n3{--n:3}.n4{--n:4}}
"""

_TABLE = """
.table{overflow:auto;margin:.5rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.45rem .7rem;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-size:.8rem;font-weight:600;background:var(--quiet);
vertical-align:bottom}
tbody th{font-weight:600}
tbody tr:first-child>*{border-top:0}
th,td{overflow-wrap:break-word}th.head,td.text,td.set{overflow-wrap:anywhere}
th.head{min-width:12rem}table:has(.bar) th.head{width:28%}
.num{text-align:right;white-space:nowrap}.lost .small{white-space:normal}
.judged b{display:inline-block;min-width:4.2em}
td.strong{font-weight:650}
td .small,th .small{display:block;font-weight:400;color:var(--soft);font-size:.8rem}
td.warn{background:var(--bad-bg)}
.plot{min-width:150px;width:17%}th.plot{text-align:center}
.plot svg{display:block;width:100%;height:26px}
.bar{min-width:170px;width:24%}.bar svg{display:block;width:100%;height:24px}
td.text{white-space:pre-wrap;min-width:12rem}
@media screen and (max-width:760px){main,header,footer{padding-left:14px;padding-right:14px}}
@media screen and (max-width:1100px){
.table{border:0;background:none;border-radius:0;overflow:visible}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table{display:block}
tbody{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:.55rem}
tbody tr{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:.4rem .6rem;
align-content:start;padding:.65rem .8rem;background:var(--card);border:1px solid var(--line);
border-radius:8px}
tbody tr:has(>.set){grid-template-columns:repeat(4,minmax(0,1fr))}
tbody tr>*{border:0!important;padding:0;text-align:left!important;min-width:0!important;
width:auto!important}
.two{grid-column:span 2}.lost{order:1;grid-column:1/-1}
tbody th,.wide{grid-column:1/-1}
td::before{display:block;color:var(--soft);font-size:.76rem;font-weight:400}
html[lang=en] td::before{content:attr(data-e)}html[lang=ko] td::before{content:attr(data-k)}
td.bare::before{display:none}
td.warn{background:none}
.lost .small{display:inline;margin-left:.4em}.judged b{min-width:0}
}
"""

_CHART = """
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:10px}
figure{padding:.7rem .8rem .6rem;min-width:0}
figure .title{font-weight:650;font-size:.92rem}
figure svg{display:block;width:100%;height:auto;margin:.25rem 0}
figcaption{display:flex;flex-wrap:wrap;gap:0 .9rem;font-size:.8rem;color:var(--soft)}
svg text{font:11px/1 Pretendard,
system-ui,"Noto Sans KR","Apple SD Gothic Neo",NanumGothic,sans-serif;
fill:var(--soft);font-variant-numeric:tabular-nums}
.grid{stroke:var(--line);stroke-width:1;fill:none}
.raw,.smooth,.rate{fill:none;stroke-linejoin:round;stroke-linecap:round}
.raw{stroke:var(--raw);stroke-width:1}
.smooth{stroke:var(--hue,var(--open));stroke-width:1.8}
.rate{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3;opacity:.75}
.nan{stroke:var(--bad);stroke-width:1.6;fill:none}
.key{display:inline-block;width:1.5em;height:0;border-top:2px solid var(--raw);
vertical-align:middle;margin-right:.35em}
.key.s{border-color:var(--hue,var(--open))}.key.r{border-top:1px dashed var(--soft)}
.axis{stroke:var(--soft);stroke-width:1}
.whisker{stroke:currentColor;stroke-width:2;fill:none}.dot{fill:currentColor}
.f-in{fill:var(--other)}.f-repeated{fill:var(--other);opacity:.45}
.f-trained{fill:var(--cpt)}.f-masked{fill:var(--raw)}.f-dropped{fill:var(--bad)}
.swatch{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.35em}
.swatch.f-in,.swatch.f-repeated{background:var(--other)}.swatch.f-trained{background:var(--cpt)}
.swatch.f-masked{background:var(--raw)}.swatch.f-dropped{background:var(--bad)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.82rem;color:var(--soft)}
details{margin-top:.6rem}
summary{cursor:pointer;color:var(--soft);font-size:.9rem;padding:.2rem 0}
summary h2{display:inline;color:var(--ink)}
pre{margin:.5rem 0 0;padding:.9rem 1.1rem;overflow:auto;white-space:pre-wrap;
font-size:.84rem;overflow-wrap:anywhere;word-break:normal}
.left-out{margin-top:1rem}.unprinted{display:none}
.find{display:none;flex-wrap:wrap;gap:.5rem .8rem;align-items:center;margin-top:.7rem}
.js .find{display:flex}
.find input{flex:1 1 16rem}
input,select{font:inherit;font-size:.93rem;color:var(--ink);background:var(--card);max-width:100%;
border:1px solid var(--soft);border-radius:6px;padding:.35em .6em}
.chain{list-style:none;margin:.5rem 0 1rem;padding:.5rem 1.1rem}
.chain li{display:grid;grid-template-columns:minmax(9rem,1fr) 4fr;gap:.1rem 1rem;padding:.25rem 0}
.chain li+li{border-top:1px solid var(--line)}
.chain code{overflow-wrap:anywhere;color:var(--soft)}
.sample{padding:.8rem 1rem;margin-top:.6rem}
.sample .asked{white-space:pre-wrap;font-weight:600}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:.6rem 1.1rem;
margin-top:.6rem}
.answers>div{border-top:3px solid var(--hue,var(--other));padding-top:.35rem;min-width:0}
.answers dt{font-size:.82rem;font-weight:700;color:var(--hue,var(--other))}
.answers dd{white-space:pre-wrap;font-size:.93rem;max-height:24rem;overflow:auto}
.facts{display:grid;grid-template-columns:fit-content(40%) minmax(0,1fr);gap:.2rem 1.2rem;
padding:.8rem 1.1rem;margin-top:.5rem;font-size:.9rem}
.facts dt{color:var(--soft)}
.facts.long{white-space:normal}
footer{margin:3rem auto 2rem;color:var(--soft);font-size:.84rem}
"""

_PRINT = """
@media print{
@page{margin:12mm}
html{font-size:12px}
body{font-size:9pt;background:#fff}
.table{overflow:visible}.table:not(:has(tr:nth-child(7))){break-inside:avoid}
th,td{padding:.3rem .5rem}th.head{min-width:9rem}.plot,.bar{min-width:90px}
.judged b{min-width:0}thead{break-after:avoid}
.answers{grid-template-columns:repeat(auto-fit,minmax(130px,1fr))}
.answers dd{max-height:none;overflow:visible}
.charts{grid-template-columns:repeat(2,1fr)}
.kpis{grid-template-columns:repeat(6,1fr)}
.asks{grid-template-columns:repeat(3,1fr)}.answer{font-size:1.25rem}
nav,.tools,.find{display:none!important}
html:not(.searched) .sample.late,html.searched .unprinted{display:none}.unprinted{display:block}
details::details-content{content-visibility:visible;block-size:auto}
.sample{padding:.5rem .7rem;margin-top:.4rem}.answers{margin-top:.3rem}
summary::marker{content:""}
pre{font-size:7.5pt;line-height:1.4}
a{text-decoration:none}
main,header,footer{max-width:none;padding:0}
section{margin-top:1.4rem}
.card,figure,tr,.tier,.verdict{break-inside:avoid}pre.card,dl.card,ol.card{break-inside:auto}
h2,h3,summary,section>p.small{break-after:avoid}p{orphans:3;widows:3}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""

CSS = (
    f":root{{{LIGHT}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{DARK}}}}}"
    f"@media screen{{:root[data-theme=dark]{{{DARK}}}}}"
    f"{_BASE}{_TOP}{_TABLE}{_CHART}{_PRINT}"
)

# Chooses the language before anything is drawn; opens what is folded for printing.
JS = """(function(){
var root=document.documentElement;
root.classList.add('js');
if(root.hasAttribute('data-auto'))root.lang=/^ko\\b/i.test(navigator.language||'')?'ko':'en';
function speak(){
var lang=root.lang==='ko'?'k':'e';
[].forEach.call(document.querySelectorAll('[data-say-e]'),function(one){
var said=one.getAttribute('data-say-'+lang);
if(one.tagName==='OPTION')one.textContent=said;else one.setAttribute('aria-label',said);
if(one.placeholder)one.placeholder=said;});
}
document.addEventListener('click',function(event){
var button=event.target.closest('button[data-do]');
if(!button)return;
if(button.dataset.do==='language'){root.lang=root.lang==='ko'?'en':'ko';speak();}
else{var dark=root.dataset.theme?root.dataset.theme==='dark':
matchMedia('(prefers-color-scheme: dark)').matches;
root.dataset.theme=dark?'light':'dark';}
});
function find(){
var field=document.querySelector('[data-do=find]'),which=document.querySelector('[data-do=which]');
if(!field)return;
var words=field.value.toLowerCase().split(/\\s+/).filter(Boolean),turn=which?which.value:'all',n=0;
[].forEach.call(document.querySelectorAll('.sample'),function(one){
var said=one.textContent.toLowerCase();
one.hidden=!(turn==='all'||one.dataset.turn===turn)||
!words.every(function(word){return said.indexOf(word)>=0;});
if(!one.hidden)n++;});
[].forEach.call(document.querySelectorAll('.find .found'),function(one){one.textContent=n;});
var rest=document.querySelector('#samples details');
var asked=words.length>0||turn!=='all';
root.classList.toggle('searched',asked);
if(rest&&asked)rest.open=true;
}
document.addEventListener('input',function(event){
if(/^(find|which)$/.test(event.target.dataset.do||''))find();});
document.addEventListener('DOMContentLoaded',function(){speak();find();});
var shut=[];
addEventListener('beforeprint',function(){
shut=[].slice.call(document.querySelectorAll('details:not([open])'));
shut.forEach(function(one){one.open=true;});});
addEventListener('afterprint',function(){shut.forEach(function(one){one.open=false;});});
})();"""

_HASH = base64.b64encode(hashlib.sha256(JS.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
