"""Kernels of the values: rows of a table fetched for items, and moved by the errors of items; compiled, on the CPU.

Each sum is done in one order, codebook after codebook or item after item, whatever the blocks and threads.

n: items; c: codebooks; m: keys of a codebook; v: classes, or as many columns of each of several heads.
"""

from typing import Any

import numpy as np

from dkvb.tiles import kernel


@kernel
def mean_rows(codes: Any, weights: Any, logits: Any) -> None:
    """Mean rows (n, v) of weights (c * m, v) for one block of codes (n, c): one codebook after the other."""
    n, c = codes.shape
    m, v = len(weights) // c, weights.shape[1]
    logits[:] = 0
    for j in range(c):
        for i in range(n):
            row = weights[j * m + codes[i, j]]
            for k in range(v):
                logits[i, k] += row[k]
    for i in range(n):
        for k in range(v):
            logits[i, k] /= c


@kernel
def transpose(codes: Any, begins: Any, items: Any) -> None:
    """Sort the items (n,) of one codebook by their code, each code's in order."""
    begins[:] = 0
    for code in codes:
        begins[code + 1] += 1
    for k in range(1, len(begins)):
        begins[k] += begins[k - 1]
    place = begins[:-1].copy()
    for i in range(len(codes)):
        items[place[codes[i]]] = i
        place[codes[i]] += 1


@kernel
def move_rows(
    items: Any,
    begins: Any,
    shares: Any,
    error: Any,
    weights: Any,
    velocity: Any,
    lr: float,
    momentum: float,
    decay: float,
) -> None:
    """Move the rows (m, v) of one codebook and their velocity by the mean error of each pair's items, and by decay."""
    m, v = weights.shape
    heads = shares.shape[1]
    width = v // heads
    step, keep, pull = np.float32(lr), np.float32(momentum), np.float32(decay)
    total = np.empty(v, np.float32)
    for k in range(m):
        if begins[k] == begins[k + 1]:
            continue  # never moved, so its velocity is 0 as well
        total[:] = 0
        for i in items[begins[k] : begins[k + 1]]:
            row = error[i]
            for col in range(v):
                total[col] += row[col]
        for h in range(heads):
            for col in range(h * width, (h + 1) * width):
                direction = total[col] * shares[k, h]
                if pull != 0:
                    direction += pull * weights[k, col]
                move = step * direction
                velocity[k, col] = keep * velocity[k, col] - move
                weights[k, col] -= move


@kernel
def descend_rows(codes: Any, error: Any, weights: Any, lr: float, clip: float) -> None:
    """Plain descent of weights (c, m, v) on a batch of codes (n, c), errors (n, v): first the norm of the whole
    gradient, then the step.

    A codebook's gradient has at most n rows; it is summed up twice rather than kept.
    """
    n, c = codes.shape
    m, v = weights.shape[1], weights.shape[2]
    place = np.full(m, -1, np.int32)
    gradient = np.empty((n, v), np.float32)
    square = 0.0
    for j in range(c):
        rows = _sum_by_key(codes, error, j, place, gradient)
        for row in range(rows):
            for k in range(v):
                square += np.float64(gradient[row, k]) ** 2
        for i in range(n):
            place[codes[i, j]] = -1
    norm = np.sqrt(square) / (c * n)
    scale = np.float32(lr / (c * n) * min(1.0, clip / (norm + 1e-6)))
    for j in range(c):
        _sum_by_key(codes, error, j, place, gradient)
        for i in range(n):
            if place[codes[i, j]] >= 0:
                row_of_key = gradient[place[codes[i, j]]]
                for k in range(v):
                    weights[j, codes[i, j], k] -= scale * row_of_key[k]
                place[codes[i, j]] = -1


@kernel
def add_squares(codes: Any, error: Any, total: Any) -> None:
    """Add the squared gradient of a batch of codes (n, c), errors (n, v), to total (c, m, v)."""
    n, c = codes.shape
    v = total.shape[2]
    place = np.full(total.shape[1], -1, np.int32)
    gradient = np.empty((n, v), np.float32)
    for j in range(c):
        _sum_by_key(codes, error, j, place, gradient)
        for i in range(n):
            if place[codes[i, j]] >= 0:
                row, sums = gradient[place[codes[i, j]]], total[j, codes[i, j]]
                for k in range(v):
                    sums[k] += np.float32((row[k] / c) ** 2)
                place[codes[i, j]] = -1


@kernel
def _sum_by_key(codes: Any, error: Any, j: int, place: Any, gradient: Any) -> int:
    """Add up the errors (n, v) of the items that select the same key of codebook j, item after item.

    place: (m,) int32, -1 for every key; becomes the row of each key that is selected.
    gradient: (n, v) float32; its first rows become the sums.
    returns: how many rows.
    """
    rows = 0
    for i in range(len(codes)):
        if place[codes[i, j]] < 0:
            place[codes[i, j]] = rows
            gradient[rows] = 0
            rows += 1
        row = gradient[place[codes[i, j]]]
        for k in range(error.shape[1]):
            row[k] += error[i, k]
    return rows


@kernel
def add_rows(codes: Any, weights: Any, logits: Any, share: int) -> None:
    """Add the rows (v,) of some codebooks' weights (g * m, v) that codes (n, g) select to logits (n, v).

    share: what the logits are divided by at last; 0 where others are still to be added.
    """
    n, g = codes.shape
    m, v = len(weights) // g, weights.shape[1]
    for j in range(g):
        for i in range(n):
            row = weights[j * m + codes[i, j]]
            for k in range(v):
                logits[i, k] += row[k]
    if share:
        for i in range(n):
            for k in range(v):
                logits[i, k] /= share
