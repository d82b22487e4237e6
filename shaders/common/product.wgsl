// What kernels for products bind: x, the weights, what becomes of the product's rows, and all that tells one product from another.
// That comes in a buffer and not as constants, so that all products by one kernel with weights of one format share a pipeline:
// compiling takes most of a load. The buffer is none of uniforms, for there are drivers that compile a kernel anew in each dispatch
// when its branches hang on those (lavapipe of Mesa 22.3). Joined with step.wgsl and a weights_*.wgsl file.
//
// x         [tokens, rounded up as the kernel says][blocks * 8] vec4, zero past the last column
// weights   tiles of 32 rows, as in weights_*.wgsl
// and, where finish.wgsl says so, else anything:
// squares   [tokens][product.squares] vec4, partial sums of the stream's squares
// extra     [rows of all slabs], the next norm's weights; or [tokens][2][row_stride], what is added to gate and up projections
// y         [tokens][row_stride]
// weighted  [tokens][row_stride]
// sums      [tokens][4 product.squares], a sum for each eight rows of a group of 64
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> product: Product;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(4) var<storage, read> squares: array<vec4f>;
@group(0) @binding(5) var<storage, read> extra: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> weighted: array<f32>;
@group(0) @binding(8) var<storage, read_write> sums: array<f32>;

// Ends, as finish.wgsl has them.
const WRITTEN: u32 = 0u;
const JOINED: u32 = 1u;
const GATED: u32 = 2u;

// Of this slab of its weights. Flags are 0 or 1.
struct Product {
    // Columns / 32, rounded up.
    blocks: u32,
    // 1: the tiles that a workgroup works on follow each other, and group g has the rows from 64 g on. More: the second tile is
    // that many tiles further, as an up projection lies behind its gate projection; g is the first tile's number.
    tiles_apart: u32,
    // Rows, of a gate and an up projection those of each.
    rows: u32,
    // Their place in a row of y.
    first_row: u32,
    // Length of a token's row in y.
    row_stride: u32,
    // Flag: y has a row for the last token alone.
    one_row: u32,
    // Flag: x comes of a norm.
    normed: u32,
    // Of how many numbers, and what is added to the mean of their squares.
    columns: u32,
    eps: f32,
    // In how many vec4s there are sums of a token's squares: those before the product, or those that it leaves.
    squares: u32,
    // What becomes of the rows: WRITTEN, JOINED or GATED.
    end: u32,
}

// The two tiles of 32 rows that a workgroup works on. Lanes take rows in fours that are ROWS_APART apart, the same ones of both
// tiles, so that neighbouring lanes read neighbouring words. The kernel defines ROWS_APART: how many lanes there are side by
// side, 4 or 8; or 1, where a lane's rows follow each other and others make use of the same reads.
struct Tiles {
    // Where their words start.
    low: u32,
    high: u32,
}

// The products of four rows of each tile with one token.
struct EightRows {
    low: vec4f,
    high: vec4f,
}

fn tiles_of(group: u32) -> Tiles {
    let words = tile_words(product.blocks);
    let low = select(group, 2u * group, product.tiles_apart == 1u) * words;
    return Tiles(low, low + product.tiles_apart * words);
}
