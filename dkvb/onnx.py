"""ONNX: the backbone and a head as one graph, and how far what it computes agrees with torch.

Images go in; logits, embeddings and, of a bottleneck, codes come out. A runtime adds in another order than torch, so an
embedding may differ in its last place in half precision, and with it a code where two keys are about equally near.
Everything else must agree: `Compared.problems` says what does not.

b: images of a batch; n: all images; c: codebooks; m: keys of a codebook; d_z: width of an embedding; v: classes.
"""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dkvb.bottleneck import decode
from dkvb.errors import BadSetting, NoOnnx, ShapeMismatch
from dkvb.torch import Classifier, LinearModel, Model

LARGEST = 1_900_000_000
"""Bytes of tensors that one ONNX file holds; a larger graph has them in a file beside it."""

TIE = 1e-5
"""Two keys are about equally near where their scores differ by no more than this, times the largest that a score of
the item can be: single precision, in which distances are computed, has 6e-8."""

ROUNDING = 1e-5
"""What adding in another order may change of a logit, times the largest number that is added up for its class."""

PLACES = 2
"""Places of half precision by which a number of an embedding may differ, at the embedding's largest number."""

SHARE = 1e-3
"""Share of codes that near ties may change."""


class _Values(nn.Module):
    """Images through backbone and bottleneck, in operations that every runtime knows."""

    projection: Tensor
    """(d_z, c d_k) float32."""
    keys: Tensor
    """(c, d_k, m) float32."""
    bias: Tensor
    """(c, 1, m) float32, minus half the squared length of a key; -inf for one that is not selectable."""
    votes: Tensor
    """(c,) bool, whether a codebook has a selectable key."""
    first: Tensor
    """(c,) int64, row of the first key of a codebook in `values`."""
    values: Tensor
    """(c m, v) float32."""
    voters: Tensor
    """() float32, codebooks that vote."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        (c, d_z, d_k), (m, v) = model.projection.shape, model.values.shape[1:]
        votes = model.selectable.any(1)
        bias = (-0.5 * model.keys.square().sum(2)).masked_fill(~model.selectable, -torch.inf)
        self.backbone = model.recorded.module
        self.sizes = c, d_k
        self.register_buffer("projection", model.projection.permute(1, 0, 2).reshape(d_z, c * d_k))
        self.register_buffer("keys", model.keys.transpose(1, 2).contiguous())
        self.register_buffer("bias", bias[:, None])
        self.register_buffer("votes", votes)
        self.register_buffer("first", torch.arange(c) * m)
        # Of a codebook that does not vote nothing may be added, whatever its values hold.
        self.register_buffer("values", model.values.masked_fill(~votes[:, None, None], 0).reshape(c * m, v))
        self.register_buffer("voters", votes.sum().clamp(min=1).float())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(b, 3, h, w) float32 -> logits (b, v) float32, embeddings (b, d_z) float16, codes (b, c) int16."""
        c, d_k = self.sizes
        z = self.backbone(images).half()
        x = (z.float() @ self.projection).reshape(-1, c, d_k).transpose(0, 1)
        nearest = (x @ self.keys + self.bias).argmax(2).T
        logits = self.values[nearest + self.first].sum(1) / self.voters
        codes = torch.where(self.votes, nearest, -1).to(torch.int16)
        return logits, z, codes


class _Linear(nn.Module):
    """Images through backbone and linear head."""

    weight: Tensor
    """(d_z, v) float32."""
    bias: Tensor
    """(v,) float32."""

    def __init__(self, model: LinearModel) -> None:
        super().__init__()
        self.backbone = model.recorded.module
        self.register_buffer("weight", model.weight)
        self.register_buffer("bias", model.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 3, h, w) float32 -> logits (b, v) float32, embeddings (b, d_z) float16."""
        z = self.backbone(images).half()
        return z.float() @ self.weight + self.bias, z


def write_onnx(model: Classifier, path: Path) -> list[Path]:
    """Write a model as ONNX: "images" (b, 3, h, w) float32 in; "logits", "embeddings" and, of values, "codes" out.

    model: with its backbone, on the CPU.
    path: of the file.
    returns: the files that were written: this one, and for a large model one beside it with its tensors.
    raises: NoOnnx; BadSetting for a model without backbone, or one that computes in lower precision.
    """
    libraries()
    recorded = model.header["backbone"]
    if recorded["precision"] != "float32":
        raise BadSetting(
            f"ONNX: found a backbone in {recorded['precision']}, expected float32: a graph has no autocast; use torch"
        )
    outputs = ["logits", "embeddings", *["codes"] * isinstance(model, Model)]
    graph: nn.Module = _Values(model) if isinstance(model, Model) else _Linear(_linear(model))
    example = torch.zeros(2, 3, *recorded["size"])
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of parts of torch and its exporter, about each other
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    assert program is not None
    beside = path.with_name(f"{path.name}.data")
    program.save(path, external_data=size > LARGEST)
    return [path, beside] if beside.exists() else [path]


def _linear(model: Classifier) -> LinearModel:
    """The other kind of model; raises: BadSetting for a third one."""
    if not isinstance(model, LinearModel):
        raise BadSetting(f"ONNX: found a {type(model).__name__}, expected a Model or a LinearModel")
    return model


def libraries() -> Any:
    """The runtime, `onnxruntime`, where all that is needed is installed; raises: NoOnnx."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise NoOnnx(
            f"ONNX needs onnx, onnxscript and onnxruntime ({error}); pip install 'dkvb-unlearning[onnx]'"
        ) from error
    return onnxruntime


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a graph says of images, beside torch. Differences are the largest, of absolute values."""

    images: int
    """n."""
    predictions_differ: int
    """Images of which the largest logit is another class's."""
    margin: float
    """Of these: how far apart torch's logits of the two classes are at most; 0 where there are none."""
    predictions_unexplained: int
    """Of these: those for whose logits the codes that differ, or the embeddings, do not account."""
    logits: float
    """Difference of logits, end to end."""
    logits_unexplained: int
    """Images whose logits differ by more than the codes that differ, or the embeddings, account for."""
    head: float
    """Difference of logits where torch decodes the graph's own codes, or embeddings, as ROUNDING says it."""
    embeddings: int
    """Numbers in all embeddings, in half precision."""
    embeddings_differ: int
    places: float
    """By how many places of half precision one of them differs, at the largest number of its embedding."""
    codes: int
    """0 of a linear head."""
    codes_differ: int
    """End to end."""
    searches_differ: int
    """Codes that differ where torch searches for the graph's own embeddings."""
    tie: float
    """Of these: how far apart two keys are that were taken for each other, as TIE says it."""

    def problems(self) -> list[str]:
        """What near ties and the order of additions do not account for; nothing of a sound graph."""
        found = {
            f"logits of equal codes or embeddings differ by {self.head:.1e}, expected at most {ROUNDING:g}": (
                self.head > ROUNDING
            ),
            f"embeddings differ by {self.places:.1f} places of half precision, expected at most {PLACES}": (
                self.places > PLACES
            ),
            f"codes of equal embeddings differ between keys that are {self.tie:.1e} apart, expected at most {TIE:g}": (
                self.tie > TIE
            ),
            f"{self.codes_differ} of {self.codes} codes differ, expected a share of at most {SHARE:g}": (
                self.codes_differ > SHARE * self.codes
            ),
            f"logits of {self.logits_unexplained} images differ by more than their codes or embeddings account for": (
                self.logits_unexplained > 0
            ),
            f"predictions of {self.predictions_unexplained} images differ that are no near ties": (
                self.predictions_unexplained > 0
            ),
        }
        return [text for text, wrong in found.items() if wrong]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        said = [f"{self.predictions_differ} of {self.images} predictions differ"]
        if self.predictions_differ:
            said[0] += f" (near ties: the two logits are at most {self.margin:.1e} apart)"
        if self.codes:
            said.append(f"{self.codes_differ} of {self.codes} codes, {self.searches_differ} where embeddings are equal")
        said.append(
            f"{self.embeddings_differ} of {self.embeddings} numbers of embeddings, by at most {self.places:.1f} "
            "places of half precision"
        )
        equal = "codes" if self.codes else "embeddings"
        said.append(f"logits by at most {self.logits:.1e}, of equal {equal} by {self.head:.1e}")
        return "; ".join(said)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What one side says of images."""

    logits: Tensor
    """(n, v) float32."""
    embeddings: Tensor
    """(n, d_z) float16."""
    codes: Tensor | None
    """(n, c) int16; None of a linear head."""

    @staticmethod
    def of(parts: list[tuple[Tensor, ...]]) -> "Said":
        """Batches put together: logits, embeddings, and codes where there are any."""
        logits, embeddings, *codes = (torch.cat(each) for each in zip(*parts, strict=True))
        return Said(logits, embeddings, codes[0] if codes else None)


def compare(model: Classifier, path: Path, batches: Iterable[Tensor]) -> Compared:
    """Compare a graph with the model in torch.

    path: of a file that `write_onnx` wrote.
    batches: (b, 3, h, w) float32, stacked results of the model's `transform`; one or more.
    raises: NoOnnx; ShapeMismatch without any batch.
    """
    session = libraries().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ours, theirs = list[tuple[Tensor, ...]](), list[tuple[Tensor, ...]]()
    for images in batches:
        z = model.embed(images)
        codes = (model.codes(z),) if isinstance(model, Model) else ()
        ours.append((model.head(z), z, *codes))
        theirs.append(tuple(map(torch.from_numpy, session.run(None, {"images": images.numpy()}))))
    if not ours:
        raise ShapeMismatch("images: found none to compare ONNX with torch on")
    return compared(model, Said.of(ours), Said.of(theirs))


def compared(model: Classifier, ours: Said, theirs: Said) -> Compared:
    """Compare what torch (`ours`) and a graph (`theirs`) say of the same images."""
    z = ours.embeddings.float(), theirs.embeddings.float()
    if isinstance(model, Model):
        assert ours.codes is not None
        assert theirs.codes is not None
        differ = ours.codes != theirs.codes
        largest = model.values.abs().amax((0, 1))
        spread = model.values.amax((0, 1)) - model.values.amin((0, 1))
        share = differ.sum(1) / (ours.codes >= 0).sum(1).clamp(min=1)
        allowed = share[:, None] * spread
        anew = decode(theirs.codes, model.values)
        searched = model.codes(theirs.embeddings)
        wrong = (searched != theirs.codes).nonzero().tolist()
        ties = [_apart(model, theirs.embeddings[i], j, searched[i, j], theirs.codes[i, j]) for i, j in wrong]
    else:
        weight = _linear(model).weight.abs()
        differ, ties = torch.empty(0), []
        largest = (z[0].abs() @ weight).amax(0)
        allowed = (z[0] - z[1]).abs() @ weight
        anew = model.head(theirs.embeddings)
    largest = largest.clamp(min=torch.finfo(torch.float32).tiny)  # (v,), of what is added up for a class
    allowed = allowed + ROUNDING * largest  # (n, v)
    gap, place = (ours.logits - theirs.logits).abs(), z[0].abs().amax(1, keepdim=True).clamp(min=2.0**-14) * 2.0**-10
    mine, other = ours.logits.argmax(1), theirs.logits.argmax(1)
    rows = (mine != other).nonzero().flatten()
    mine, other = mine[rows], other[rows]
    margins = ours.logits[rows, mine] - ours.logits[rows, other]
    return Compared(
        images=len(gap),
        predictions_differ=len(rows),
        margin=float(margins.max()) if len(rows) else 0.0,
        predictions_unexplained=int((margins > allowed[rows, mine] + allowed[rows, other]).sum()),
        logits=float(gap.max()),
        logits_unexplained=int((gap > allowed).any(1).sum()),
        head=float(((anew - theirs.logits).abs() / largest).max()),
        embeddings=z[0].numel(),
        embeddings_differ=int((z[0] != z[1]).sum()),
        places=float(((z[0] - z[1]).abs() / place).max()),
        codes=differ.numel(),
        codes_differ=int(differ.sum()),
        searches_differ=len(ties),
        tie=max(ties, default=0.0),
    )


def _apart(model: Model, z: Tensor, j: int, a: Tensor, b: Tensor) -> float:
    """How far apart the scores of two keys of a codebook are for one embedding (d_z,), as TIE says it.

    Infinite where one of both is no code that could have been chosen.
    """
    if min(a, b) < 0 or not (model.selectable[j, int(a)] and model.selectable[j, int(b)]):
        return torch.inf
    x, keys = z.double() @ model.projection[j].double(), model.keys[j].double()
    scores = keys @ x - keys.square().sum(1) / 2
    largest = x.norm() * keys.norm(dim=1).max() + keys.square().sum(1).max() / 2
    return float((scores[int(a)] - scores[int(b)]).abs() / largest)
