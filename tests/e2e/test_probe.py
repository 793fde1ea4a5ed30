import time
from e2e.helpers import *
def test_a(recipe, reference, tmp_path):
    print({s: max(e['step'] for e in rows_of(reference/'metrics.jsonl') if e['stage']==s) for s in STAGES})
    f=samdan("--help")
    for a in (["status", reference], ["plan", recipe, "--out", reference], ["check", recipe], ["run", recipe, "--out", reference]):
        t=time.time(); f=samdan(*a); print(a[0], f.code, time.time()-t)
