import time
from e2e.helpers import *
def test_a(recipe, reference, tmp_path):
    f=samdan("--help")
    for a in (["status", reference], ["plan", recipe, "--out", reference], ["check", recipe], ["run", recipe, "--out", reference]):
        t=time.time(); f=samdan(*a); print(a[0], f.code, time.time()-t)
    import os
    print(os.times())
    from samdan.run.executor import execute
    from samdan.run.loading import load_recipe
    import cProfile, pstats
    p=cProfile.Profile(); p.enable()
    t=time.time(); c=time.process_time(); execute(load_recipe(recipe), reference); print("again in-process", time.time()-t, time.process_time()-c)
    t=time.time(); c=time.process_time(); execute(load_recipe(recipe), tmp_path/"n"); print("fresh in-process", time.time()-t, time.process_time()-c)
    p.disable(); pstats.Stats(p).sort_stats("cumtime").print_stats(45)
