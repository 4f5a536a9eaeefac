"""Codes: the compiled kernel against what published code and a well-known library do for the same codes.

`einsum` is distances to all keys of all codebooks at once, 64 items at a time, as published code computes them; `faiss
pq` a ProductQuantizer whose sub-quantizers are the codebooks (keys as centroids; its time includes the projection, one
matrix product); `faiss flat` one IndexFlat a codebook. `64 at a time` is a model that is called with so many items, as
in serving. Read `ratio` as how many times faster `encode` is, `of limit` as the share of the matrix-product rate that
the 2 d_k FLOP of every distance alone would reach, `not equal` as the share of other codes; each must be a near tie.
`peak MB` is what one call takes over its inputs, the result included.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from synthetic import D_K, codebooks, items, some_labels
from timing import matmul_rate, median, peak_over, report, size
from torch import Tensor

from dkvb.codes import Codebooks, encode
from dkvb.neighbours import neighbours


def einsum_codes(z: Tensor, projection: Tensor, keys: Tensor) -> Tensor:
    """Distances to all keys of all codebooks at once, batch by batch."""
    found = []
    for batch in z.float().split(64):
        x = torch.einsum("nz,czk->nck", batch, projection)
        cross = torch.einsum("nck,cmk->ncm", x, keys)
        distance = x.square().sum(2, keepdim=True) - 2 * cross + keys.square().sum(2)
        found.append(distance.argmin(2))
    return torch.cat(found)


def faiss_codes(projection: Tensor, keys: Tensor) -> dict[str, Callable[[Tensor], Any]]:
    """The same by faiss, one function of embeddings each; none where faiss is not installed."""
    try:
        import faiss
    except ModuleNotFoundError:
        return {}
    c, m, d_k = keys.shape
    faiss.omp_set_num_threads(torch.get_num_threads())
    joined = projection.permute(1, 0, 2).reshape(-1, c * d_k)
    quantizer = faiss.ProductQuantizer(c * d_k, c, int(m - 1).bit_length())
    faiss.copy_array_to_vector(keys.numpy().ravel(), quantizer.centroids)
    flat = [faiss.IndexFlatL2(d_k) for _ in range(c)]
    for index, book in zip(flat, keys.numpy(), strict=True):
        index.add(book)

    def by_quantizer(z: Tensor) -> Any:
        return quantizer.compute_codes((z.float() @ joined).numpy())

    def by_flat(z: Tensor) -> Tensor:
        x = np.ascontiguousarray((z.float() @ joined).view(len(z), c, d_k).transpose(0, 1).numpy())
        found = [index.search(part, 1)[1][:, 0] for index, part in zip(flat, x, strict=True)]
        return torch.from_numpy(np.stack(found, 1))

    return {"faiss pq": by_quantizer, "faiss flat": by_flat}


def main() -> None:
    """Time all of them on the same items."""
    s = size(__doc__ or "")
    n, c, m = s["n"], s["c"], s["m"]
    projection, keys = codebooks(s)
    z = items(some_labels(n, s["v"], seed=3), s, seed=4)
    few, every = z[: min(n, 256)], torch.ones(c, m, dtype=torch.bool)
    encode(few[:16], projection[:1], keys[:1])  # compiles
    peak = peak_over(lambda: encode(z, projection, keys)) / 2**20
    taken = median(lambda: encode(z, projection, keys))
    listed = median(lambda: neighbours(z, projection, keys, selectable=every), runs=1)
    limit = 2 * D_K * n * c * m / matmul_rate()
    codes = encode(few, projection, keys).long()

    def row(name: str, seconds: float, found: Any = None) -> dict[str, Any]:
        other = (found != codes).double().mean().item() if isinstance(found, Tensor) else float("nan")
        rate = n * c * m / seconds / 1e9
        return {
            "what": name,
            "G distances/s": rate,
            "ratio": seconds / taken,
            "of limit": limit / seconds,
            "not equal": other,
        }

    rows = [row("encode", taken), row("16 neighbours", listed)]
    books = Codebooks.of(projection, keys, None)
    served = median(lambda: [books.encode(batch) for batch in few.split(64)]) * n / len(few)
    rows.append(row("64 at a time", served, torch.cat([books.encode(batch) for batch in few.split(64)]).long()))
    reference = median(lambda: einsum_codes(few, projection, keys)) * n / len(few)
    rows.append(row("einsum", reference, einsum_codes(few, projection, keys)))
    part = z[: min(n, 1024)]
    for name, work in faiss_codes(projection, keys).items():
        rows.append(row(name, median(partial(work, part)) * n / len(part), work(few)))
    report("codes", rows, peak_MB=round(peak, 1), **s)


if __name__ == "__main__":
    main()
