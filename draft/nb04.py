from nbtool import *
md('''
# 4 · Scribbles

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/REPOSITORY/blob/main/notebooks/04_scribbles.ipynb)

**A few strokes on a photograph, some in the object and some beside it; one pixel in sixty is labelled. A network has to fill in the rest. This notebook rebuilds one that was chosen as the best of 72, and asks what the strokes, the colours and the choosing are worth.**

It rebuilds the report *Image Segmentation with Scribble Supervision*. It builds on [notebook 2](02_face_masks.ipynb) (folds, comparing one change at a time) and [notebook 3](03_neural_segmentello.ipynb) (hints, colour likelihood). New are an encoder from a library, scSE attention, the IoU as a loss, sweeps over many configurations, and what choosing among them does to a number.
''')
md('''
## What you will learn, and what you need

- to draw strokes as people do, and to check that they are alike;
- a U-Net whose encoder comes from a library of image classifiers, and scSE attention as a formula and in a few lines;
- the IoU as a loss, beside Dice, and what a positive weight does;
- an ensemble of five folds, and how to be sure that nothing leaks;
- why the best of many configurations looks better than it is, and by how much;
- how far shortest paths and colours go without any training.

You need notebooks 1 to 3. Nothing is downloaded: the scenes here are drawn. Numbers from the challenge's 228 photographs are recorded in [`results/scribbles`](../results/scribbles), and say so.

**Measured**: MEASURED on two CPU cores (`make notebooks`).
''')
code(head+'''import copy

import matplotlib.pyplot as plt
import numpy as np
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import nn

from seglib import baselines, build_model, experiment, figures, losses, metrics, refinement, results, sweep, weights
from seglib.config import load_row, load_rows
from seglib.data import clues, coco, scribbles, strokes
from seglib.exercises import check
from seglib.models.blocks import ConcurrentSqueezeExcitation
from seglib.notebook import data_folder, markdown, print_epoch, setup, show_source, table

scale = setup()''')
md('''
## What the report claims

The challenge gives 228 photographs of Pascal VOC, each with strokes (background 0, object 1, unlabelled 255) and, for training, the full mask. The measure is the mean of two IoUs, the object's and the background's. A U-Net on EfficientNet-B2, trained from scratch in five folds, in the best of 72 configurations:
''')
code('''
report = load_row("scribbles", "report", scale)
claims = {"mean IoU, five folds": "0.8758 ± 0.0169", "mean IoU, test": "0.8569", "IoU of the background, test": "0.9215", "IoU of the object, test": "0.7923"}
table([{"claim": name, "value": value} for name, value in claims.items()])
print(f"(0.9215 + 0.7923) / 2 = {(0.9215 + 0.7923) / 2:.4f}")
print(f"the folds' {0.8758} lies {0.8758 - 0.8569:.4f} above the test's")
''')
md('''
The two IoUs give the mean to the last digit. What remains to be explained is the gap of 0.019 between the folds and the test. The report's key findings also contradict each other in two places: IoU loss 'outperforms Dice loss across all augmentation levels', and the two 'yield similar performance'; a positive weight of 3 'provides optimal balance', and its effect is 'limited'. We shall test all four.

## Stage 1: what the network is given

''')
md('''
A photograph is reduced to the largest multiples of 32 below its size (Lanczos' filter), its strokes and mask likewise (nearest neighbour, for labels must not be mixed). Strokes become one channel: −1 background, +1 object, 0 unknown. Colours are normalised, by a layer of the network, with the training part's mean and standard deviation.

Drawn scenes stand in for the photographs, of the same size:
''')
code('''
small = {"data.scenes": 100, "data.width": 128, "data.height": 96}  # less than a row has, so that it takes minutes
row = load_row("scribbles", "report", scale, small)
data = experiment.make_data(row, seed=0, folder=data_folder())
print(data.description)
held_out = data.validation.data
shown = range(6)


_ = figures.gallery(
    {
        "strokes": [figures.strokes(held_out.images[i], held_out.scribbles[i]) for i in shown],
        "truth": [held_out.masks[i] for i in shown],
    },
    scale=2.1,
)
plt.show()
first = data.validation[0][0]
print(f"a network's input: {tuple(first.shape)}, colours and strokes; strokes are {sorted(set(first[3].unique().tolist()))}")
print(f"{np.mean([(hint != 0).mean() for hint in held_out.scribbles]):.1%} of the pixels are labelled")
''')
md('''
*Six of the scenes that no network will be trained on. White strokes: object; red: background.*

### Strokes as people draw them

The report trains on many generated strokes for one mask. In the object: close its mask, take each part that is large enough, draw a line in it, thicken it. In the background: of four regions beside the object's bounding box, take one (the larger, the likelier), draw a line there. Ours draws curves that stay inside, as people's do:
''')
code('''
show_source(strokes.scribble)
mask, image = held_out.masks[1], held_out.images[1]
several = [strokes.scribble(mask, np.random.default_rng(seed), mask.shape[1] / 640) for seed in range(5)]
_ = figures.gallery({"": [figures.strokes(image, hint) for hint in several]}, titles=[f"seed {seed}" for seed in range(5)], scale=2.4)
plt.show()
inside = all(mask[hint > 0].all() and not mask[hint < 0].any() for hint in several)
print(f"no stroke leaves its side: {inside}")
''')
md('''
How much background is there for each pixel of an object? The report counts 3.88, and weighs the object's pixels in its cross-entropy by up to 3.8 for that:
''')
code('''
share = np.mean([mask.mean() for mask in data.train.data.masks])
print(f"drawn scenes: {(1 - share) / share:.2f} pixels of background for each of an object")
''')
md('''
On the challenge's 228 masks the same count gives 3.88, to the last digit, and the mean and standard deviation of the colours are the report's too: that is how we know that we work on the same data.

## Stage 2: the network

### An encoder from a library

The library [segmentation_models_pytorch](https://github.com/qubvel-org/segmentation_models.pytorch) makes a U-Net of an image classifier: its stages, before each halving of the size, become the skips, and a decoder is put on top.
''')
code('''
model = experiment.make_model(row)
show_source(type(model[1]))
x = data.validation[0][0][None]
for features in model[1].network.encoder(x):
    print(f"encoder: {features.shape[1]:3} channels of {features.shape[3]}×{features.shape[2]}")
print(f"logits: {tuple(model(x).shape)}, {experiment.count_parameters(model):,} parameters")
''')
md('''
### scSE: which channels, and where

After each step of the decoder, *concurrent spatial and channel squeeze-and-excitation* (Roy et al. 2018) scales what it finds twice. By channel, as in notebook 1's squeeze-and-excitation, from the means over the whole picture; and by place, from all channels at that pixel:

$$\\mathrm{scSE}(x) = x \\cdot \\sigma\\big(W_2\\,\\mathrm{ReLU}(W_1 \\bar{x})\\big) + x \\cdot \\sigma(w \\cdot x)$$

The paper takes the larger of the two, the library their sum. Ours does as the library does:
''')
code('''
show_source(ConcurrentSqueezeExcitation)
torch.manual_seed(0)
theirs, ours = SCSEModule(128), ConcurrentSqueezeExcitation(128)
ours.channels.excite.load_state_dict(theirs.cSE.state_dict())
ours.places.load_state_dict(theirs.sSE.state_dict())
x = torch.randn(2, 128, 12, 16)
print(f"with the same weights, the same answer: {torch.allclose(ours(x), theirs(x), atol=1e-6)}")
''')
md('''
## Stage 3: the loss

The IoU of notebook 1, made soft: with probabilities $p$ and truth $t$,

$$L_\\mathrm{IoU} = 1 - \\frac{\\sum pt}{\\sum (p + t - pt)}, \\qquad L_\\mathrm{Dice} = 1 - \\frac{2\\sum pt}{\\sum (p + t)}.$$

One is a function of the other: with $I$ for the soft IoU and $D$ for the soft Dice coefficient, $I = D / (2 - D)$. They rank all predictions alike. What differs is how hard they pull:
''')
code('''
show_source(losses.iou_loss)
overlap = np.linspace(0, 1, 21)
dice = 1 - 2 * overlap / (1 + overlap)
_ = figures.lines(overlap, {"IoU loss": 1 - overlap, "Dice loss": dice}, xlabel="IoU", ylabel="loss")
plt.show()
target = torch.zeros(1, 1, 8, 8)
target[..., 2:6, 2:6] = 1
for logit in (-2.0, 0.0, 2.0):
    logits = torch.where(target > 0, logit, -3.0).requires_grad_()
    pulls = {}
    for name, loss in {"IoU": losses.iou_loss, "Dice": losses.dice_loss}.items():
        (gradient,) = torch.autograd.grad(loss(logits, target, smooth=0.0), logits)
        pulls[name] = gradient.abs().sum().item()
    print(f"probability {torch.sigmoid(torch.tensor(logit)):.2f} in the object: the IoU loss pulls {pulls['IoU'] / pulls['Dice']:.2f} times as hard as Dice")
''')
md('''
Where little is right yet, Dice pulls harder; where nearly all is right, the IoU loss does, up to twice as hard. To either, 0.2 times the cross-entropy is added, in which an object's pixels count $p_c$ times.
''')
md('''
## Stage 4: augmentation

Three levels, each with everything of the one before. Geometry moves photograph, strokes and mask together; colours are changed in the photograph alone. What comes in from outside is background in the mask and *unlabelled* in the strokes: nobody drew there.
''')
code('''
show_source(scribbles.augmentation)
level = {}
for name in scribbles.LEVELS[1:]:
    pipeline = scribbles.augmentation(name, held_out.images[2].shape[:2])
    views = []
    labels = held_out.masks[2] + 2 * scribbles.DRAWN[held_out.scribbles[2]]
    for seed in (1, 3, 4, 5, 6):
        pipeline.set_random_seed(seed)
        view = pipeline(image=held_out.images[2], mask=labels)
        views.append(figures.strokes(view["image"], scribbles.SIGNS[view["mask"] // 2]))
    level[name] = views
_ = figures.gallery(level, titles=[f"draw {number}" for number in range(1, 6)], scale=2.1)
plt.show()
''')
md('''
## Stage 5: training and evaluation

### Folds and leakage

Five folds; each photograph is held out once. *Stratified* here means by how much of the picture the object covers: photographs are ordered by it, and each five neighbours are dealt out to the five folds.
''')
code('''
show_source(scribbles.stratified_folds)
parts = experiment.make_folds(row, seed=0, folder=data_folder())
leaks = [set(part.train.names) & set(part.validation.names) for part in parts]
print(f"photographs on both sides of a fold: {sum(map(len, leaks))}")
print("share of the object in each fold:", *(f"{np.mean([m.mean() for m in part.validation.data.masks]):.3f}" for part in parts))
''')
md('''
At the end the five networks are one: the mean of their probabilities, cut at ½. `predict` with five weights files does that. There is a trap in it: of each photograph that the folds were made of, four of the five networks have *seen* the mask. Only new photographs can tell what the ensemble is worth, and each network alone is measured on its own fold.

### Live

The report's network, for eight epochs on 80 drawn scenes of 128×96 (20 are held out; they are measured at their own size):
''')
code('''
live = load_row("scribbles", "report", scale, small | {"training.epochs": 8})
trained, history = experiment.train(live, 0, data, on_epoch=print_epoch)
''', IGN)
md('''
Beside it, three methods that are not trained see the same strokes. The *nearest stroke* gives each pixel to the side whose stroke is nearest, and does not look at the picture. GrabCut and the random walker are those of notebook 3: colours and a cut; a walk that shuns edges.
''')
code('''
masks = {
    name: [baselines.FROM_STROKES[name](*pair) for pair in zip(held_out.images, held_out.scribbles)]
    for name in baselines.FROM_STROKES
}


def fill_in(model, row, hints=held_out.scribbles):
    """Probabilities for the held-out scenes, each at its own size."""
    return [refinement.fill_in([model], *pair, row.data) for pair in zip(held_out.images, hints)]


def mean_iou(found):
    return experiment.two_ious(found, held_out.masks).mean()


masks["report, live"] = [probability >= 0.5 for probability in fill_in(trained, live)]
''')
code('''
shown = [0, 3, 7, 11, 15]
pictures = {"scene and strokes": [figures.strokes(held_out.images[i], held_out.scribbles[i]) for i in shown]}
for name in ("nearest", "grabcut", "random-walker", "report, live"):
    pictures[name] = [figures.error_map(masks[name][i], held_out.masks[i]) for i in shown]
_ = figures.gallery(pictures, scale=2.1)
plt.show()
for name, found in masks.items():
    if name in baselines.FROM_STROKES:
        print(f"{name:14} mean IoU {mean_iou(found):.2f}")
print("the network, after eight epochs, is ahead of all four:", all(mean_iou(masks["report, live"]) > mean_iou(masks[name]) for name in baselines.FROM_STROKES))
''')
md('''
*White: right. Orange: too much. Blue: too little.* @FIGLIVE

## Reported beside measured

Each line is `python -m seglib run scribbles ROW` with `SEGLIB_DATA` set: the challenge's 228 photographs, in folds of which some rows train only the first two. `quick` is 192×144 and 20 epochs where the row's title says nothing else; every mask is measured at its photograph's own size, 500×375. ± is the standard deviation over folds.
''')
code('''
markdown(results.scoreboard("scribbles", ("mean_iou", "iou_background", "iou")))
''')
md('''
@SCOREBOARD

## The 72

The report chose among 72 configurations: two losses, three levels of augmentation, four positive weights and three batch sizes. One command runs them all, and goes on where it stopped:

```
python -m seglib sweep scribbles ablation
```

With `--jobs 2` two run at once; with `--backend ray` a cluster shares them out, and starts again what a lost machine was at. @SWEEPSCALE
''')
code('''
cells = sweep.table("scribbles", "ablation", "scribbles")
score = {tuple(value for key, value in line.items() if key not in sweep.KEPT): line["metrics"]["mean_iou"] for line in cells}
axes = {axis: list(levels) for axis, levels in sweep.load_sweep("scribbles", "ablation").axes.items()}
grid = np.array(list(score.values())).reshape([len(levels) for levels in axes.values()])
print(f"{grid.size} cells, mean IoU from {grid.min():.3f} to {grid.max():.3f}; the best: {' · '.join(max(score, key=score.get))}")
figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True, layout="constrained")
by_loss = dict(zip(("IoU loss", "Dice loss"), grid))
for panel, axis, kept in zip(panels, list(axes)[1:], (0, 1, 2)):
    others = tuple(k for k in range(3) if k != kept)
    series = {name: part.mean(axis=others) for name, part in by_loss.items()}
    _ = figures.lines(axes[axis], series, xlabel=axis, ylabel="mean IoU, over all else" if kept == 0 else "", axis=panel)
plt.show()
''')
md('''
*Each point is a mean over all cells with that choice.* How much of this is chance? Two things answer. Every choice was tried with all else the same, so that choices are compared in pairs of cells; and some cells were trained again with another seed:
''')
code('''
def compare(axis, one, other):
    """Mean and standard error of what choice `one` has more than `other`, in pairs of cells that are else the same."""
    k = list(axes).index(axis)
    more = (np.take(grid, axes[axis].index(one), k) - np.take(grid, axes[axis].index(other), k)).ravel()
    return more.mean(), more.std(ddof=1) / len(more) ** 0.5


again = sweep.table("scribbles", "ablation", "scribbles", seed=1)
twice = np.array([[line["metrics"]["mean_iou"], score[tuple(line[axis] for axis in axes)]] for line in again])
chance = np.diff(twice).std(ddof=1) / 2**0.5
print(f"{len(again)} cells were trained with two seeds; one cell's standard deviation between seeds: {chance:.4f}")
pairs = [
    ("loss", "iou", "dice"),
    ("augmentation", "low", "medium"),
    ("augmentation", "low", "high"),
    ("positive weight", "3", "1"),
    ("positive weight", "3", "2"),
    ("positive weight", "3", "3.8"),
    ("batch size", "8", "6"),
    ("batch size", "8", "12"),
]
for pair in pairs:
    more, error = compare(*pair)
    print(f"{pair[0]:15} {pair[1]:>4} less {pair[2]:6} {more:+.4f} ± {error:.4f}")
''')
md('''
@FINDINGS

### The best of 72 is too good

Whoever takes the best of 72 numbers takes the luckiest. Suppose all 72 were equally good, and each number were off by the chance just measured. What would the best show?
''')
code('''
rng = np.random.default_rng(0)
lucky = rng.normal(0, chance, (10_000, 72)).max(1)
print(f"the best of 72 equal ones looks {lucky.mean():.4f} better than it is, on one fold; on five {lucky.mean() / 5**0.5:.4f}")
''')
md('''
The same without supposing anything: choose the best of our 72 cells on one half of the validation photographs, drawn at random, and look at it on the other half.
''')
code('''
each = np.array([[(p["iou"] + p["iou_background"]) / 2 for p in line["photographs"]] for line in cells])
count = each.shape[1]
chosen_on, elsewhere = [], []
for _ in range(2_000):
    order = rng.permutation(count)
    here, there = each[:, order[: count // 2]].mean(1), each[:, order[count // 2 :]].mean(1)
    chosen_on.append(here.max())
    elsewhere.append(there[here.argmax()])
print(f"{count} photographs, 2,000 halves: {np.mean(chosen_on):.4f} where it was chosen, {np.mean(elsewhere):.4f} elsewhere")
print(f"a photograph's mean IoU has a standard deviation of {each.mean(0).std(ddof=1):.3f}")
between = each.mean(0).std(ddof=1) * (1 / 228 + 1 / 226) ** 0.5
print(f"so two sets of 228 and 226 photographs differ by {between:.4f} (standard deviation) by chance alone; the report's differ by {0.8758 - 0.8569:.4f}")
''')
md('''
@BEST72

## What goes wrong

### A network that trains and does not predict

Our first rows on EfficientNet-B2 learned well and found *nothing* in validation. The reason hides in batch normalisation: in training it uses the batch's own mean and variance, in use a running average of them. How fast that follows is its *momentum*, and the library's EfficientNets forget only one hundredth a step. What of the starting values is left after a short training?
''')
code('''
steps = live.training.epochs * len(data.train) // live.training.batch_size
for momentum in (0.1, 0.01):
    print(f"momentum {momentum}: {(1 - momentum) ** steps:.0%} of the start is left after {steps} steps, {(1 - momentum) ** 16_000:.0%} after 16,000")
slow, left = copy.deepcopy(trained), 0.99**steps
for module in slow.modules():
    if isinstance(module, nn.BatchNorm2d):  # it starts with a mean of 0 and a variance of 1
        module.running_mean.mul_(1 - left)
        module.running_var.mul_(1 - left).add_(left)
drop = mean_iou(masks["report, live"]) - mean_iou([probability >= 0.5 for probability in fill_in(slow, live)])
print(f"with that much of the start left, the network just trained loses more than 0.1 of mean IoU: {drop > 0.1}")
''')
md('''
In the report's 16,000 steps nothing is left, so it could not notice. `EncoderUNet` sets the momentum to 0.1, PyTorch's default.

### Failures

Where is a photograph hard? Recorded, for `ours` on all 228 photographs, each by the network that has not seen it, split by how much of the picture the object covers:
''')
code('''
recorded = {result["row"]: result for result in results.read("scribbles") if result["data"] != "embedded" and result["scale"] == "quick" and result["seed"] == 0}
best = recorded["ours"]
photographs = [entry for fold in best["folds"] for entry in fold["photographs"]]
photographs.sort(key=lambda entry: entry["share"])
for name, part in zip(("small", "middle", "large"), np.array_split(photographs, 3)):
    found = {key: np.mean([entry[key] for entry in part]) for key in ("iou", "iou_background")}
    print(f"{name:6} objects ({part[0]['share']:5.1%} to {part[-1]['share']:5.1%}): IoU of the object {found['iou']:.3f}, of the background {found['iou_background']:.3f}")
poor = np.mean([entry["iou"] < 0.5 for entry in photographs])
print(f"{poor:.0%} of the photographs have an IoU of the object below 0.5; median {np.median([entry['iou'] for entry in photographs]):.3f}")
''')
md('''
@FAILURES

And to look at: the held-out scenes on which the network that was just trained does worst.
''')
code('''
each_scene = experiment.two_ious(masks["report, live"], held_out.masks).mean(0)
worst = np.argsort(each_scene)[:5]
_ = figures.gallery(
    {
        "scene and strokes": [figures.strokes(held_out.images[i], held_out.scribbles[i]) for i in worst],
        "errors": [figures.error_map(masks["report, live"][i], held_out.masks[i]) for i in worst],
    },
    scale=2.1,
)
plt.show()
print(f"the five worst scenes are at least 0.1 below the mean of all: {each_scene[worst].mean() < each_scene.mean() - 0.1}")
''')
md('''
@WORST

### Are the probabilities right?

The report cuts at ½ 'without calibration'. Recorded, over the pixels of each fold's photographs:
''')
code('''
def over_folds(row):
    """A row's reliability over the pixels of all its folds, by the folds' mean in each bin."""
    folds = [fold["calibration"] for fold in recorded[row]["folds"]]
    return tuple(np.mean([[entry[key] for entry in fold] for fold in folds], 0) for key in ("predicted", "observed"))


compared = {name: over_folds(name) for name in ("report", "ours")}
_ = figures.reliability(compared)
plt.show()
for name, (predicted, observed) in compared.items():
    print(f"{name}: expected calibration error {recorded[name]['metrics']['calibration_error']:.3f}; where it says {predicted[8]:.2f}, {observed[8]:.2f} of the pixels are the object")
''')
md('''
@CALIBRATION

## Beyond the report

### What strokes say about the rest

A network that has 182 photographs to learn from should not have to learn what can be computed. Two clues can. *Colours*, as in notebook 3: how likely is a pixel's colour the object's, by the colours under the strokes of both sides? And *ways*: how long is the shortest path from a pixel to each side's strokes, if a step across an edge is long? That is a geodesic distance, found by Dijkstra's algorithm:
''')
code('''
show_source(clues.geodesic_distance, clues.colour_likelihood)
shown = [0, 3, 7, 11, 15]
inputs = [scribbles.network_input(held_out.images[i], held_out.scribbles[i], ("likelihood", "geodesic")) for i in shown]
_ = figures.gallery(
    {
        "scene and strokes": pictures["scene and strokes"],
        "by colour": [x[4].numpy() for x in inputs],
        "by distance": [x[5].numpy() for x in inputs],
        "truth": [held_out.masks[i] for i in shown],
    },
    scale=2.1,
)
plt.show()
for k, name in ((4, "colour likelihood"), (5, "geodesic distance")):
    alone = [scribbles.network_input(*pair, ("likelihood", "geodesic"))[k].numpy() >= 0.5 for pair in zip(held_out.images, held_out.scribbles)]
    print(f"{name} alone, cut at ½: mean IoU {mean_iou(alone):.2f}")
''')
md('''
*White: the object's side.* As channels of their own beside colours and strokes, they go into notebook 3's U-Net, live for eight epochs:
''')
code('''
ours = load_row("scribbles", "clues", scale, small | {"training.epochs": 8})
with_clues, _ = experiment.train(ours, 0, experiment.make_data(ours, seed=0, folder=data_folder()), on_epoch=print_epoch)
''', IGN)
code('''
masks["clues, live"] = [probability >= 0.5 for probability in fill_in(with_clues, ours)]
inside, outside = experiment.two_ious(masks["clues, live"], held_out.masks).mean(1)
print(f"{experiment.count_parameters(with_clues):,} parameters beside {experiment.count_parameters(trained):,}")
print(f"mean IoU above 0.70: {(inside + outside) / 2 > 0.7}; better than the report's network, after this little training: {mean_iou(masks['clues, live']) > mean_iou(masks['report, live'])}")
print(f"the background is found better than the objects: {outside > inside}")
''')
md('''
@CLUESLIVE

### One idea at a time

Recorded, on the challenge's photographs: `clues` with one idea more, or less. Two folds of the five, photograph by photograph:
''')
code('''
def each_photograph(name, folds=2):
    return {
        entry["name"]: (entry["iou"] + entry["iou_background"]) / 2
        for fold in recorded[name]["folds"][:folds]
        for entry in fold["photographs"]
    }


base = each_photograph("clues")
rows = {row.name: row for row in load_rows("scribbles", scale)}
lines = []
for name in (
    "unet",
    "likelihood",
    "geodesic",
    "own-strokes",
    "more-strokes",
    "long-strokes",
    "medium",
    "boundary",
    "average",
    "views",
    "self-training",
    "pretrained",
):
    other = each_photograph(name)
    more = np.array([other[key] - value for key, value in base.items()])
    lines.append(
        {
            "row": f"`{name}`",
            "idea": rows[name].title,
            "mean IoU": f"{np.mean(list(other.values())):.4f}",
            "less `clues`": f"{more.mean():+.4f} ± {more.std(ddof=1) / len(more) ** 0.5:.4f}",
            "minutes": round(recorded[name]["run"]["seconds"] / 60),
        }
    )
table(lines)
''')
md('''
@IDEASTEXT

### All that helps

@ALLTEXT
''')
code('''
columns = {"mean_iou": "mean IoU", "iou_background": "IoU of the background", "iou": "IoU of the object"}
lines = [
    {"": "the report, on five folds"} | dict(zip(columns.values(), ("0.8758 ± 0.0169", "–", "–"))),
    {"": "the report, on the test's photographs"} | dict(zip(columns.values(), ("0.8569", "0.9215", "0.7923"))),
]
for name in ("grabcut", "report", "clues", "pretrained", "ours"):
    found = recorded[name]
    lines.append(
        {"": f"`{name}`, {len(found['folds'])} folds"}
        | {label: results.number(found["metrics"][key], found["spread"][key]) for key, label in columns.items()}
    )
table(lines)
first, second = (recorded[name]["run"]["seconds"] for name in ("ours-pretraining", "ours"))
print(f"hours of training on one core: {first / 3600:.1f} before, {second / 3600:.1f} for the five folds")
''')
md('''
@ALLAFTER

### How much scribbling is enough?

A stroke costs a second, a photograph many. What is left of the mask if strokes break off early? Each connected stroke keeps a share of its pixels, from a single dot on:
''')
code('''
shares = (0.0, 0.1, 0.25, 0.5, 1.0)
rng = np.random.default_rng(0)
shorter = {share: [strokes.shortened(hint, share, rng) for hint in held_out.scribbles] for share in shares}
amount = {
    "clues, live, on scenes": [mean_iou([p >= 0.5 for p in fill_in(with_clues, ours, shorter[share])]) for share in shares]
} | {
    f"{name}, on photographs": [recorded[name]["metrics"][f"mean_iou_strokes_{share:.0%}"] for share in shares[:-1]]
    + [recorded[name]["metrics"]["mean_iou"]]
    for name in ("unet", "clues", "ours")
}
_ = figures.lines([100 * share for share in shares], amount, xlabel="share of each stroke that is left, %", ylabel="mean IoU")
plt.show()
labelled = [np.mean([(hint != 0).mean() for hint in shorter[share]]) for share in shares]
print("pixels labelled in the scenes:", *(f"{share:.2%}" for share in labelled))
for name, values in list(amount.items())[1:]:
    print(f"{name:24}", *(f"{value:.3f}" for value in values))
''')
md('''
@AMOUNT

### On photographs of your own

The five networks come with the course. Here they are on the photographs of notebook 3, with strokes drawn by the algorithm above:
''')
code('''
paths = weights.shipped_weights("scribbles", "ours")
ensemble = []
for path in paths:
    ensemble.append(build_model("scribbles", "ours"))
    weights.load(ensemble[-1], path)
view = load_row("scribbles", "ours").data
mine = [entry for entry in coco.photographs() if entry.category in ("person", "cat", "cup", "rocket", "motorcycle")]
images, truths = [entry.image() for entry in mine], [entry.mask() for entry in mine]
hints = [strokes.scribble(truth, np.random.default_rng(4), max(truth.shape) / 640) for truth in truths]
found = [refinement.fill_in(ensemble, *pair, view) for pair in zip(images, hints)]
_ = figures.gallery(
    {
        "strokes": [figures.strokes(*pair) for pair in zip(images, hints)],
        "probability": found,
        "errors": [figures.error_map(probability >= 0.5, truth) for probability, truth in zip(found, truths)],
    },
    titles=[f"{entry.path.stem}, {entry.category}" for entry in mine],
    scale=1.9,
)
plt.show()
for entry, (inside, outside) in zip(mine, experiment.two_ious([p >= 0.5 for p in found], truths).T):
    print(f"{entry.path.stem:16} {entry.category:10} IoU of the object {inside:.2f}, of the background {outside:.2f}")
''')
md('''
@OWN For strokes on your own: `python -m seglib predict scribbles ours photos/*.jpg --hints strokes/ --out masks/`, with a PNG for each photograph in `strokes/`: 0 on the background's strokes, 1 on the object's, 255 elsewhere.

## Exercises

Replace the line that raises, run the cell, and read what the check says. Solutions are in [`solutions/04_scribbles.ipynb`](solutions/04_scribbles.ipynb).

**1 (easy).** A scribble's file holds 0 (background), 1 (object) and 255 (unlabelled) as 8-bit numbers. Give the network's channel: −1, 1 and 0, as signed integers or floats. Any other number is a mistake of the file's: raise a ValueError that names it. (Why can `255 - picture`, or `2 * picture - 1`, not be trusted here?)
''')
code('''
def encode(picture):
    raise NotImplementedError


_ = check(encode)
''', 'exercise')
md('''
**2 (medium).** The best of many. Given the scores of C configurations on N photographs, an array (C, N), return how much better the best configuration looks on the photographs that it was chosen on than on others: choose by the mean over all photographs but one, note the chosen one's score on that one, and do so for each photograph in turn. Return the mean score of the best by all photographs, less the mean of those notes.
''')
code('''
def optimism(scores):
    raise NotImplementedError


_ = check(optimism)
''', 'exercise')
md('''
**3 (hard).** Geodesic distances on a grid of four neighbours: given what it costs to enter each pixel (H, W) and where the seeds are (bool), return the cost of the cheapest path from any seed to each pixel; at a seed it is 0. (Start with 0 at the seeds and infinity elsewhere, and relax neighbours until nothing changes; or use `heapq`.)
''')
code('''
def cheapest_paths(costs, seeds):
    raise NotImplementedError


_ = check(cheapest_paths)
''', 'exercise')
md('''
## Takeaways

@TAKEAWAYS

**Next** in the course: Mars terrain, five classes and labels that cannot be trusted.

## References

- The report: *Image Segmentation with Scribble Supervision*.
- M. Tan, Q. Le: *EfficientNet*, [arXiv 1905.11946](https://arxiv.org/abs/1905.11946).
- A. Guha Roy, N. Navab, C. Wachinger: *Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks*, [arXiv 1803.02579](https://arxiv.org/abs/1803.02579).
- P. Iakubovskii: *Segmentation Models Pytorch*, [github.com/qubvel-org/segmentation_models.pytorch](https://github.com/qubvel-org/segmentation_models.pytorch).
- D. Lin et al.: *ScribbleSup: Scribble-Supervised Convolutional Networks for Semantic Segmentation*, [arXiv 1604.05144](https://arxiv.org/abs/1604.05144).
- A. Criminisi, T. Sharp, A. Blake: *GeoS: Geodesic Image Segmentation*, ECCV 2008.
- C. Guo et al.: *On Calibration of Modern Neural Networks*, [arXiv 1706.04599](https://arxiv.org/abs/1706.04599).
- M. Everingham et al.: *The Pascal Visual Object Classes Challenge*, IJCV 2010; B. Hariharan et al.: *Semantic Contours from Inverse Detectors*, ICCV 2011 (the augmented masks).
- G. Cawley, N. Talbot: *On Over-fitting in Model Selection and Subsequent Selection Bias in Performance Evaluation*, JMLR 2010.
''')
import re, sys, os

texts = dict(re.findall(r"^@(\w+)\n(.*?)(?=^@|\Z)", open("/tmp/w/i5nb/texts04.md").read(), re.M | re.S)) if os.path.exists("/tmp/w/i5nb/texts04.md") else {}
for c in cells:
    c.source = re.sub(r"@([A-Z0-9]{3,})\b", lambda m: texts.get(m[1], "@" + m[1]).strip(), c.source)
save("/tmp/w/i5/notebooks/04_scribbles.ipynb")
