import nbformat, json
from nbformat.v4 import new_markdown_cell as M, new_code_cell as C, new_notebook
IGN='nbval-ignore-output'
cells=[]
def md(t): cells.append(M(t.strip('\n')))
def code(t, *tags):
    c=C(t.strip('\n'))
    if tags: c.metadata['tags']=list(tags)
    cells.append(c)
setup=''.join(json.load(open('/tmp/w/i5/notebooks/01_denoising.ipynb'))['cells'][2]['source'])
head=setup[:setup.index('from itertools import pairwise')]
def save(path):
    for i,c in enumerate(cells): c['id']=f'cell-{i:02d}'
    nb=new_notebook(cells=cells,metadata={"kernelspec":{"display_name":"Python 3","language":"python","name":"python3"},"language_info":{"name":"python"}})
    nbformat.write(nb,path)
