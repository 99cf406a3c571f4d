import sys, time, traceback, os
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
import nbformat
sys.path.insert(0,'/tmp/w/i5')
os.environ.pop("SEGLIB_DATA",None)
nb=nbformat.read(sys.argv[1],4); ns={}
only=None
n=0
def show(*a,**k):
    global n
    for f in plt.get_fignums(): plt.figure(f).savefig(f"/tmp/w/i5nb/fig{cellno:02d}_{f}.png",dpi=70); 
    plt.close("all")
plt.show=show
for cellno,c in enumerate(nb.cells):
    if c.cell_type!="code" or "exercise" in c.metadata.get("tags",[]): continue
    t=time.time()
    try:
        exec(compile(c.source,f"cell{cellno}","exec"),ns)
        print(f"--- cell {cellno} ok {time.time()-t:.1f}s",flush=True)
    except Exception as e:
        print(f"--- cell {cellno} FAILED {type(e).__name__} {str(e)[:200]} {time.time()-t:.1f}s",flush=True)
