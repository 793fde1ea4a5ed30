"""A page that draws itself again: the document once, then the blocks that have changed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from samdan.pages.guard import App, Guard
from samdan.pages.listening import Listening
from samdan.pages.policy import policy
from samdan.records import SamdanError
from samdan.report.style import CSS, JS
from samdan.report.watch import frame

STYLE = f"""{CSS}
.doing{{margin-top:.4rem}}
.now{{margin-top:1rem}}.now .title{{font-size:1.12rem}}.now .share{{margin-left:.6em}}
.meter{{display:block;width:100%;height:10px;border-radius:5px;margin:.4rem 0}}
.meter .whole{{fill:var(--line)}}.meter .part{{fill:var(--hue,var(--open))}}
.meter.good .part{{fill:var(--good)}}.meter.care .part{{fill:var(--care)}}
.meter.bad .part{{fill:var(--bad)}}
.near{{list-style:none;padding:.3rem 1rem;margin-top:.5rem}}
.near li{{display:grid;grid-template-columns:9rem minmax(6rem,1fr) 8.5rem minmax(0,2fr);
gap:.2rem .9rem;align-items:center;padding:.35rem 0;border-top:1px solid var(--line)}}
.near .pill{{justify-self:start}}.near li:first-child{{border-top:0}}
.lost-contact{{margin-top:.8rem;padding:.6rem 1rem;border-radius:8px;background:var(--care-bg)}}
@media (max-width:760px){{.near li{{grid-template-columns:1fr auto}}
.near .meter{{grid-column:1/-1;grid-row:2}}.near .said{{grid-column:1/-1}}}}
"""

# Blocks are made by the server, of escaped text; the policy runs no script and loads nothing that
# might be in them.
SCRIPT = (
    JS
    + """
(function(){
'use strict';
var token=new URLSearchParams(location.search).get('token')||'';
var made={createHTML:function(text){return text;}};
if(window.trustedTypes)made=trustedTypes.createPolicy('samdan',made);
var known={},seen='',lost=document.querySelector('.lost-contact');
function put(place,html){
var open=[].map.call(place.querySelectorAll('details'),function(one){return one.open;});
place.innerHTML=made.createHTML(html);
[].forEach.call(place.querySelectorAll('details'),function(one,at){one.open=!!open[at];});
}
function ask(){
if(document.hidden){later(1000);return;}
fetch('/state',{method:'POST',headers:{'content-type':'application/json','x-samdan-token':token},
body:JSON.stringify({seen:seen})}).then(function(answer){
if(!answer.ok)throw new Error(answer.status);
return answer.json();
}).then(function(state){
lost.hidden=true;
seen=state.id;
document.title=state.title||document.title;
Object.keys(state.blocks).forEach(function(name){
var place=document.querySelector('[data-block="'+name+'"]');
if(place&&known[name]!==state.blocks[name])put(place,known[name]=state.blocks[name]);
});
later(state.again*1000);
}).catch(function(){lost.hidden=false;later(5000);});
}
function later(time){setTimeout(ask,time);}
document.addEventListener('visibilitychange',function(){if(!document.hidden&&!seen)ask();});
ask();
})();"""
)

State = Mapping[str, object]


class Live(Listening):
    """The page on a port."""

    def __init__(
        self,
        name: str,
        state: Callable[[], State],
        place: tuple[str, int],
        lang: Literal["en", "ko"] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """``state``: makes id, title, blocks and seconds until it may be asked again.

        Raises EnvironmentFailure when the address cannot be used.
        """
        host, port = place
        self.token = secrets.token_urlsafe(24)
        super().__init__(
            _application(name, state, lang, (self.token, [host, *names])), self.token, host, port
        )


def _application(
    name: str,
    state: Callable[[], State],
    lang: Literal["en", "ko"] | None,
    guard: tuple[str, Sequence[str]],
) -> App:
    document = str(frame(name, lang, STYLE, SCRIPT))

    async def page(_: Request) -> Response:
        return HTMLResponse(document)

    async def answer(request: Request) -> Response:
        try:
            found = await run_in_threadpool(state)
        except SamdanError as error:  # the run is gone, or holds something else
            return JSONResponse({"error": str(error)}, 503)
        if await _seen(request) == found["id"]:
            found = {**found, "blocks": {}}
        return JSONResponse(found)

    routes = [Route("/", page, methods=["GET"]), Route("/state", answer, methods=["POST"])]
    token, names = guard
    return Guard(Starlette(routes=routes), token, names, policy(STYLE, SCRIPT, "samdan"))


async def _seen(request: Request) -> object:
    try:
        asked = json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
    return asked.get("seen") if isinstance(asked, dict) else None
