"""Forget a class of a finished experiment, and see what it cost: `python docs/example.py dkvb-demo 3`.

Each cell below `# %%` can be run by itself in an editor or a notebook. It writes one request to the root.
"""

# %% An experiment: here the one that `dkvb demo` makes
import sys

import numpy as np
import polars as pl
import torch

import dkvb

root, name = sys.argv[1:3] if len(sys.argv) > 2 else ("dkvb-demo", "3")
study = dkvb.open(root)
print(study)

# %% What the class knows: the pairs that it activates most, and who shares them
print(study.query.keys(name, limit=5))

# %% With whom it shares most
overlap = study.query.overlap().filter(pl.col("name") != pl.col("other_name"))
print(overlap.filter((pl.col("name") == name) | (pl.col("other_name") == name)).sort("weighted", descending=True))

# %% Forget it, by the rule: the smallest N whose pairs hold 99 % of its training activations
done = study.unlearn(name)
print(f"{done['pairs_masked']} pairs masked, {100 * done['pairs_masked_share']:.1f} % of all")
print("\n".join(study.query.measure(done["mask"]).lines()))

# %% What it cost the others: items right before and wrong now, and items gained
cost = study.query.collateral(done["mask"]).filter(pl.col("name") != name).sort("lost", descending=True)
print(cost.select("name", "hit_share", "test_items", "right_before", "right_after", "lost", "gained"))

# %% Why the class that lost most suffered: the pairs that both hit, and where its items went
print(study.query.why(cost["name"][0], forgot=name, mask=done["mask"]).text())

# %% The same model in torch, before and after; embeddings are stored, so no image is read
model = study.model(backbone=False)
forgetful = model.mask(done["mask"])
z = torch.from_numpy(np.asarray(study.embeddings("test")))
labels = torch.from_numpy(study.stored.labels("test"))
for what, network in (("before", model), ("after", forgetful)):
    right = network(z).argmax(1) == labels
    of_class = labels == study.classes.index(name)
    print(f"{what}: {int(right[of_class].sum())} of {int(of_class.sum())} test items of {name} right, ", end="")
    print(f"{int(right[~of_class].sum())} of {int((~of_class & (labels >= 0)).sum())} of the others")
