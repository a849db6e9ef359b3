"""What runs on the GPU; `_norms` cuts the work. R and C are the rows and columns of a tile, both powers of two.

x̂ = (x - mean) rstd and y = x̂ γ + β, so with g the gradient at y, of one row
dx = rstd (γg - x̂ mean(γg x̂) - mean(γg)), and of one example dγ = Σ g x̂, dβ = Σ g over its rows.
An RMSNorm has no mean: x̂ = x rstd, and the last term of dx is gone.
"""

# pyright: basic, reportMissingImports=false
# Triton has no types, and of annotations it takes `tl.constexpr` alone.
import triton
import triton.language as tl

jit = triton.jit
jit_of_any_length = triton.jit(do_not_specialize=["length", "chunks", "rows"])  # one program for all lengths


@jit
def offsets(row, columns, width):
    """Where the elements of a tile lie, in 64 bits: activations may hold more than 2³¹ elements."""
    return row.to(tl.int64)[:, None] * width + columns[None, :]


@jit
def load(pointer, kept):
    """Values in float32, zero where they are not kept."""
    return tl.load(pointer, mask=kept, other=0.0).to(tl.float32)


@jit
def normalised(values, mean, rstd, row, inside, CENTRED: tl.constexpr):
    """x̂ of a tile, zero in rows that are not inside."""
    if CENTRED:
        values -= load(mean + row, inside)[:, None]
    return values * load(rstd + row, inside)[:, None]


@jit_of_any_length
def backward(
    grad, x, weight, mean, rstd, means, dx, partials,
    length, chunks, rows, width,
    BIAS: tl.constexpr, CENTRED: tl.constexpr, WHOLE: tl.constexpr, CHUNK: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """A chunk of one example's rows: its dx, and its shares of dγ and dβ to `partials` (dγ and dβ, example, chunk, width).

    Grid: (examples × chunks, column blocks). Where a tile holds a WHOLE row its two means are taken here, else they come
    from `means`.
    """
    program = tl.program_id(0)
    first, example = program % chunks * CHUNK, program // chunks
    columns = tl.program_id(1) * C + tl.arange(0, C)
    gamma = load(weight + columns, columns < width)[None, :]
    dgamma, dbeta = tl.zeros([R, C], tl.float32), tl.zeros([R, C], tl.float32)
    for start in range(first, tl.minimum(first + CHUNK, length), R):
        inside = start + tl.arange(0, R) < length
        row = example * length + start + tl.arange(0, R)
        at, kept = offsets(row, columns, width), inside[:, None] & (columns < width)[None, :]
        g = load(grad + at, kept)
        hat = normalised(load(x + at, kept), mean, rstd, row, inside, CENTRED)
        dgamma += g * hat
        if BIAS:
            dbeta += g
        g *= gamma
        along = tl.sum(g * hat, axis=1) / width if WHOLE else load(means + row, inside)
        result = g - hat * along[:, None]
        if CENTRED:
            shift = tl.sum(g, axis=1) / width if WHOLE else load(means + rows + row, inside)
            result -= shift[:, None]
        result *= load(rstd + row, inside)[:, None]
        tl.store(dx + at, result.to(dx.dtype.element_ty), mask=kept)
    slot = partials + program.to(tl.int64) * width + columns
    tl.store(slot, tl.sum(dgamma, axis=0), mask=columns < width)
    if BIAS:
        slot += tl.num_programs(0).to(tl.int64) * width
        tl.store(slot, tl.sum(dbeta, axis=0), mask=columns < width)


@jit_of_any_length
def row_means(
    grad, x, weight, mean, rstd, means, rows, width,
    CENTRED: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Of one wide row, mean(γg x̂) and mean(γg) to `means` (2, rows). Grid: (rows,)."""
    row = tl.program_id(0) + tl.arange(0, 1)
    along, shift = tl.zeros([1, C], tl.float32), tl.zeros([1, C], tl.float32)
    for start in range(0, width, C):
        columns = start + tl.arange(0, C)
        at, kept = offsets(row, columns, width), (columns < width)[None, :]
        g = load(grad + at, kept) * load(weight + columns, columns < width)[None, :]
        along += g * normalised(load(x + at, kept), mean, rstd, row, row < rows, CENTRED)
        shift += g
    tl.store(means + row, tl.sum(along, axis=1) / width)
    tl.store(means + rows + row, tl.sum(shift, axis=1) / width)


@jit_of_any_length
def combine(partials, shares, squares, chunks, width, R: tl.constexpr, C: tl.constexpr):
    """One example's dγ (or dβ) out of its chunks, and the sum of its squares over a block of columns.

    `partials` is (dγ and dβ × examples, chunks, width), `shares` lacks the chunks, `squares` is (the same, column blocks).
    Grid: (dγ and dβ × examples, column blocks).
    """
    example, block = tl.program_id(0), tl.program_id(1)
    columns = block * C + tl.arange(0, C)
    total = tl.zeros([R, C], tl.float32)
    for start in range(0, chunks, R):
        chunk = start + tl.arange(0, R)
        at = (example.to(tl.int64) * chunks + chunk)[:, None] * width + columns[None, :]
        total += tl.load(partials + at, mask=(chunk < chunks)[:, None] & (columns < width)[None, :], other=0.0)
    share = tl.sum(total, axis=0)
    tl.store(shares + example.to(tl.int64) * width + columns, share, mask=columns < width)
    tl.store(squares + example * tl.num_programs(1) + block, tl.sum(share * share, axis=0))


@jit_of_any_length
def forward(
    x, weight, bias, y, mean, rstd, eps, rows, width,
    BIAS: tl.constexpr, CENTRED: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The norm of R whole rows. Grid: (rows / R,)."""
    row, columns = tl.program_id(0) * R + tl.arange(0, R), tl.arange(0, C)
    inside, at = row < rows, offsets(row, columns, width)
    kept = inside[:, None] & (columns < width)[None, :]
    values = load(x + at, kept)
    if CENTRED:
        middle = tl.sum(values, axis=1) / width
        tl.store(mean + row, middle, mask=inside)
        values = tl.where(kept, values - middle[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(values * values, axis=1) / width + eps)
    tl.store(rstd + row, scale, mask=inside)
    result = values * scale[:, None] * load(weight + columns, columns < width)[None, :]
    if BIAS:
        result += load(bias + columns, columns < width)[None, :]
    tl.store(y + at, result.to(y.dtype.element_ty), mask=kept)


@jit_of_any_length
def wide_forward(
    x, weight, bias, y, mean, rstd, eps, width,
    BIAS: tl.constexpr, CENTRED: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The norm of one row that no tile holds: a pass for the mean, one for the variance, one to write. Grid: (rows,)."""
    row = tl.program_id(0).to(tl.int64)
    middle = 0.0
    if CENTRED:
        total = tl.zeros([C], tl.float32)
        for start in range(0, width, C):
            columns = start + tl.arange(0, C)
            total += load(x + row * width + columns, columns < width)
        middle = tl.sum(total, axis=0) / width
        tl.store(mean + row, middle)
    squares = tl.zeros([C], tl.float32)
    for start in range(0, width, C):
        columns = start + tl.arange(0, C)
        values = tl.where(columns < width, load(x + row * width + columns, columns < width) - middle, 0.0)
        squares += values * values
    scale = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / width + eps)
    tl.store(rstd + row, scale)
    for start in range(0, width, C):
        columns = start + tl.arange(0, C)
        values = (load(x + row * width + columns, columns < width) - middle) * scale
        result = values * load(weight + columns, columns < width)
        if BIAS:
            result += load(bias + columns, columns < width)
        tl.store(y + row * width + columns, result.to(y.dtype.element_ty), mask=columns < width)
