from nbtool import *

md("""
# 4 · Scribbles

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/REPOSITORY/blob/main/notebooks/04_scribbles.ipynb)

**A few strokes on a photograph, some in the object and some beside it; one pixel in sixty is labelled. A network has to fill in the rest. This notebook rebuilds one that was chosen as the best of 72, and asks what the strokes, the colours and the choosing are worth.**

It rebuilds the report *Image Segmentation with Scribble Supervision*. It builds on [notebook 2](02_face_masks.ipynb) (folds, comparing one change at a time) and [notebook 3](03_neural_segmentello.ipynb) (hints, colour likelihood). New are an encoder from a library, scSE attention, the IoU as a loss, sweeps over many configurations, and what choosing among them does to a number.
""")
md("""
## What you will learn, and what you need

- to draw strokes as people do, and to check that they are alike;
- a U-Net whose encoder comes from a library of image classifiers, and scSE attention as a formula and in a few lines;
- the IoU as a loss, beside Dice, and what a positive weight does;
- an ensemble of five folds, and how to be sure that nothing leaks;
- why the best of many configurations looks better than it is, and by how much;
- how far shortest paths and colours go without any training.

You need notebooks 1 to 3. Nothing is downloaded: the scenes here are drawn. Numbers from the challenge's 228 photographs are recorded in [`results/scribbles`](../results/scribbles), and say so.

**Measured**: MEASURED on two CPU cores (`make notebooks`).
""")
code(
    head
    + """import matplotlib.pyplot as plt
import numpy as np
import torch

from seglib import baselines, experiment, figures, losses, metrics, refinement, results
from seglib.config import load_row, load_rows
from seglib.data import clues, scribbles, strokes
from seglib.exercises import check
from seglib.models.blocks import ConcurrentSqueezeExcitation
from seglib.notebook import data_folder, markdown, print_epoch, setup, show_source, table

scale = setup()"""
)
md("""
## What the report claims

The challenge gives 228 photographs of Pascal VOC, each with strokes (background 0, object 1, unlabelled 255) and, for training, the full mask. The measure is the mean of two IoUs, the object's and the background's. A U-Net on EfficientNet-B2, trained from scratch in five folds, in the best of 72 configurations:
""")
code("""
report = load_row("scribbles", "report", scale)
claims = {"mean IoU, five folds": "0.8758 ± 0.0169", "mean IoU, test": "0.8569", "IoU of the background, test": "0.9215", "IoU of the object, test": "0.7923"}
table([{"claim": name, "value": value} for name, value in claims.items()])
print(f"(0.9215 + 0.7923) / 2 = {(0.9215 + 0.7923) / 2:.4f}")
print(f"the folds' {0.8758} lies {0.8758 - 0.8569:.4f} above the test's")
""")
md("""
The two IoUs give the mean to the last digit. What remains to be explained is the gap of 0.019 between the folds and the test. The report's key findings also contradict each other in two places: IoU loss 'outperforms Dice loss across all augmentation levels', and the two 'yield similar performance'; a positive weight of 3 'provides optimal balance', and its effect is 'limited'. We shall test all four.

## Stage 1: what the network is given

""")
md("""
A photograph is reduced to the largest multiples of 32 below its size (Lanczos' filter), its strokes and mask likewise (nearest neighbour, for labels must not be mixed). Strokes become one channel: −1 background, +1 object, 0 unknown. Colours are normalised, by a layer of the network, with the training part's mean and standard deviation.

Drawn scenes stand in for the photographs, of the same size:
""")
code('''
small = {"data.scenes": 120}  # fewer scenes than a row has, so that this notebook takes minutes
row = load_row("scribbles", "report", scale, small)
data = experiment.make_data(row, seed=0, folder=data_folder())
print(data.description)
held_out = data.validation.data
shown = range(6)


def drawn_on(image, hint):
    """A photograph with its strokes: the object's in white, the background's in black."""
    return np.where(hint[..., None] == 0, image, 127.5 + 127.5 * hint[..., None]).astype(np.uint8)


_ = figures.gallery(
    {
        "strokes": [drawn_on(held_out.images[i], held_out.scribbles[i]) for i in shown],
        "truth": [held_out.masks[i] for i in shown],
    },
    scale=2.1,
)
plt.show()
first = data.validation[0][0]
print(f"a network's input: {tuple(first.shape)}, colours and strokes; strokes are {sorted(set(first[3].unique().tolist()))}")
print(f"{np.mean([(hint != 0).mean() for hint in held_out.scribbles]):.1%} of the pixels are labelled")
''')
md("""
*Six of the scenes that no network will be trained on. White strokes: object; black: background.*

### Strokes as people draw them

The report trains on many generated strokes for one mask. In the object: close its mask, take each part that is large enough, draw a line in it, thicken it. In the background: of four regions beside the object's bounding box, take one (the larger, the likelier), draw a line there. Ours draws curves that stay inside, as people's do:
""")
code("""
show_source(strokes.scribble)
mask, image = held_out.masks[1], held_out.images[1]
several = [strokes.scribble(mask, np.random.default_rng(seed), mask.shape[1] / 640) for seed in range(5)]
_ = figures.gallery({"": [drawn_on(image, hint) for hint in several]}, titles=[f"seed {seed}" for seed in range(5)], scale=2.4)
plt.show()
inside = all(mask[hint > 0].all() and not mask[hint < 0].any() for hint in several)
print(f"no stroke leaves its side: {inside}")
""")
md("""
How much background is there for each pixel of an object? The report counts 3.88, and weighs the object's pixels in its cross-entropy by up to 3.8 for that:
""")
code("""
share = np.mean([mask.mean() for mask in data.train.data.masks])
print(f"drawn scenes: {(1 - share) / share:.2f} pixels of background for each of an object")
""")
md("""
On the challenge's 228 masks the same count gives 3.88, to the last digit, and the mean and standard deviation of the colours are the report's too: that is how we know that we work on the same data.

## Stage 2: the network

### An encoder from a library

The library [segmentation_models_pytorch](https://github.com/qubvel-org/segmentation_models.pytorch) makes a U-Net of an image classifier: its stages, before each halving of the size, become the skips, and a decoder is put on top.
""")
code("""
model = experiment.make_model(row)
show_source(type(model[1]))
_ = figures.network(model, torch.zeros(1, 4, 192, 256), f"EfficientNet-B2: {experiment.count_parameters(model):,} parameters")
plt.show()
""")
md("""
### scSE: which channels, and where

After each step of the decoder, *concurrent spatial and channel squeeze-and-excitation* (Roy et al. 2018) scales what it finds twice. By channel, as in notebook 1's squeeze-and-excitation, from the means over the whole picture; and by place, from all channels at that pixel:

$$\\mathrm{scSE}(x) = x \\cdot \\sigma\\big(W_2\\,\\mathrm{ReLU}(W_1 \\bar{x})\\big) + x \\cdot \\sigma(w \\cdot x)$$

The paper takes the larger of the two, the library their sum. Ours does as the library does:
""")
code("""
from segmentation_models_pytorch.base.modules import SCSEModule

show_source(ConcurrentSqueezeExcitation)
torch.manual_seed(0)
theirs, ours = SCSEModule(128), ConcurrentSqueezeExcitation(128)
ours.channels.excite.load_state_dict(theirs.cSE.state_dict())
ours.places.load_state_dict(theirs.sSE.state_dict())
x = torch.randn(2, 128, 12, 16)
print(f"with the same weights, the same answer: {torch.allclose(ours(x), theirs(x), atol=1e-6)}")
""")
md("""
## Stage 3: the loss

The IoU of notebook 1, made soft: with probabilities $p$ and truth $t$,

$$L_\\mathrm{IoU} = 1 - \\frac{\\sum pt}{\\sum (p + t - pt)}, \\qquad L_\\mathrm{Dice} = 1 - \\frac{2\\sum pt}{\\sum (p + t)}.$$

One is a function of the other: with $I$ for the soft IoU and $D$ for the soft Dice coefficient, $I = D / (2 - D)$. They rank all predictions alike. What differs is how hard they pull:
""")
code("""
show_source(losses.iou_loss)
overlap = np.linspace(0, 1, 101)
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
""")
md("""
Where little is right yet, Dice pulls harder; where nearly all is right, the IoU loss does, up to twice as hard. To either, 0.2 times the cross-entropy is added, in which an object's pixels count $p_c$ times.
""")
md("""
## Stage 4: augmentation

Three levels, each with everything of the one before. Geometry moves photograph, strokes and mask together; colours are changed in the photograph alone. What comes in from outside is background in the mask and *unlabelled* in the strokes: nobody drew there.
""")
code("""
show_source(scribbles.augmentation)
level = {}
for name in scribbles.LEVELS:
    pipeline = scribbles.augmentation(name, held_out.images[2].shape[:2])
    views = []
    for seed in range(5):
        labels = held_out.masks[2] + 2 * scribbles.DRAWN[held_out.scribbles[2]]
        if pipeline:
            pipeline.set_random_seed(seed)
        view = pipeline(image=held_out.images[2], mask=labels) if pipeline else {"image": held_out.images[2], "mask": labels}
        views.append(drawn_on(view["image"], scribbles.SIGNS[view["mask"] // 2]))
    level[name] = views
_ = figures.gallery(level, titles=[f"draw {number}" for number in range(1, 6)], scale=2.1)
plt.show()
""")
md("""
## Stage 5: training and evaluation

### Folds and leakage

Five folds; each photograph is held out once. *Stratified* here means by how much of the picture the object covers: photographs are ordered by it, and each five neighbours are dealt out to the five folds.
""")
code("""
show_source(scribbles.stratified_folds)
parts = experiment.make_folds(row, seed=0, folder=data_folder())
leaks = [set(part.train.names) & set(part.validation.names) for part in parts]
print(f"photographs on both sides of a fold: {sum(map(len, leaks))}")
print("share of the object in each fold:", *(f"{np.mean([m.mean() for m in part.validation.data.masks]):.3f}" for part in parts))
""")
md("""
At the end the five networks are one: the mean of their probabilities, cut at ½. `predict` with five weights files does that. There is a trap in it. On the photographs that the folds were made of, four of the five networks have *seen* the picture: only new photographs can tell what the ensemble is worth.

### Live

@LIVE
""")
code("""
@LIVECODE
""")
md("""
### Without training

Three methods see the same strokes. The *nearest stroke* gives each pixel to the side whose stroke is nearest, and does not look at the picture. GrabCut and the random walker are those of notebook 3.
""")
code("""
classical = {
    rows.title: [baselines.FROM_STROKES[rows.baseline.method](image, hint) for image, hint in zip(held_out.images, held_out.scribbles)]
    for rows in load_rows("scribbles", scale)
    if rows.baseline
}
""")
