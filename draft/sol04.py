from nbtool import *

md('''
# Solutions to 4 · Scribbles

One solution to each exercise of [the notebook](../04_scribbles.ipynb), and what it is good for. Try yourself first: the checks there say what is wrong, not how to do it.
''')
code(head + '''import numpy as np

from seglib import sweep
from seglib.data import clues, scribbles
from seglib.exercises import check
from seglib.notebook import setup

_ = setup()''')
md('''
## 1 · Reading a scribble
''')
code('''
def encode(picture):
    others = sorted(set(np.unique(picture).tolist()) - {0, 1, 255})
    if others:
        raise ValueError(f"expected 0, 1 and 255, got also {others}")
    return np.select([picture == 0, picture == 1], [-1, 1], 0)


_ = check(encode)
''', 'exercise')
code('''
picture = np.array([0, 1, 255], np.uint8)
print("2 * picture - 1 in 8 bits:", 2 * picture - 1)
print("255 - picture:", 255 - picture)
''')
md('''
Numbers of 8 bits wrap around without a word: the background becomes 255, and so does... nothing that was meant. A mistake of this kind trains without any error and costs a little of everything. So does a scribble that was saved as JPEG or resized smoothly: it has numbers between, and they must stop the program, by name.

## 2 · The best of many
''')
code('''
def optimism(scores):
    outside = []
    for k in range(scores.shape[1]):
        chosen = np.delete(scores, k, axis=1).mean(1).argmax()
        outside.append(scores[chosen, k])
    return scores.mean(1).max() - np.mean(outside)


_ = check(optimism)
''', 'exercise')
code('''
cells = sweep.table("scribbles", "ablation", "scribbles")
scores = np.array([[(p["iou"] + p["iou_background"]) / 2 for p in line["photographs"]] for line in cells])
print(f"{len(scores)} configurations, {scores.shape[1]} photographs: the best looks {optimism(scores):.4f} better than it is")
equal = np.random.default_rng(0).normal(0.8, 0.1, (200, *scores.shape))
print(f"72 that are equally good and have nothing in common: {np.mean([optimism(one) for one in equal]):.4f}")
''')
md('''
This is cross-validation of the *choice*, not of a network: nothing is trained again. Real configurations share their data and nearly their networks, so they rise and fall together on the same photographs, and there is less to be gained by luck than among 72 strangers.

## 3 · Cheapest paths
''')
code('''
def cheapest_paths(costs, seeds):
    import heapq

    height, width = costs.shape
    found = np.full(costs.shape, np.inf)
    queue = [(0.0, int(y), int(x)) for y, x in np.argwhere(seeds)]
    for _, y, x in queue:
        found[y, x] = 0
    while queue:
        far, y, x = heapq.heappop(queue)
        if far > found[y, x]:
            continue  # a cheaper way was found in the meantime
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and far + costs[v, u] < found[v, u]:
                found[v, u] = far + costs[v, u]
                heapq.heappush(queue, (found[v, u], v, u))
    return found


_ = check(cheapest_paths)
''', 'exercise')
code('''
scene = scribbles.generated(1, 7)
image, hint = scene.images[0][::8, ::8], scene.scribbles[0][::8, ::8]
steps = 1 + 400 / 255 / 3 * np.abs(image.astype(float) - image.mean((0, 1))).sum(2)
mine = cheapest_paths(steps, hint > 0)
package = clues.geodesic_distance(image, hint > 0)
print(f"cheapest paths from {mine.min():.0f} to {mine.max():.0f}; the package's distances from {package.min():.0f} to {package.max():.0f}")
''')
md('''
A heap always gives the cheapest pixel that is still open, so that each is settled once: $O(n \\\\log n)$ for $n$ pixels. The package lets SciPy do the same, with eight neighbours and with the change of colour between two pixels as the length of a step.
''')
save("/tmp/w/i5/notebooks/solutions/04_scribbles.ipynb")
