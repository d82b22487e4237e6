// Matrix-matrix product for a chunk of tokens: the products of all rows with each token's x, handed to finish.wgsl.
//
// Each invocation holds a tile of 16 rows x 8 tokens in registers, so that a weight is read and dequantised once for 8 tokens
// and x once for 16 rows; no barriers, no workgroup memory. On processors, reading takes more time than the arithmetic: one
// number of x serves 16 rows, a word of weights 64 products.
// Joined in front: step.wgsl, an unpack_halves*.wgsl file, a weights_*.wgsl file, product.wgsl, which says what is bound,
// silu.wgsl, finish.wgsl, weights8.wgsl, an x_*.wgsl file. x has rows for tokens rounded up to 8.
//
// A workgroup produces 64 rows, those of two tiles, for 16 tokens.
const ROWS_APART: u32 = 4u;

// Sixteen columns of x for eight tokens: for each quad of columns, the first four tokens' and the last four's.
struct HalfBlock {
    first: array<mat4x4f, 4>,
    last: array<mat4x4f, 4>,
}

// `at`: their place in the first token's row of x, `apart`: vec4s from a token's row to the next.
fn half_block_of_x(at: u32, apart: u32, lane: u32) -> HalfBlock {
    let last = at + 4u * apart;
    return HalfBlock(
        array(
            four_of_x(at, apart, lane),
            four_of_x(at + 1u, apart, lane),
            four_of_x(at + 2u, apart, lane),
            four_of_x(at + 3u, apart, lane),
        ),
        array(
            four_of_x(last, apart, lane),
            four_of_x(last + 1u, apart, lane),
            four_of_x(last + 2u, apart, lane),
            four_of_x(last + 3u, apart, lane),
        ),
    );
}

// One row's products with eight tokens: a column for the first four, and one for the last.
fn row_products(base: u32, block: u32, row: u32, half: u32, columns: HalfBlock) -> mat2x4f {
    let scale = block_scale(base, block, row);
    let w = weights8(base, block, row, 2u * half, scale);
    let v = weights8(base, block, row, 2u * half + 1u, scale);
    return mat2x4f(
        w[0] * columns.first[0] + w[1] * columns.first[1] + v[0] * columns.first[2] + v[1] * columns.first[3],
        w[0] * columns.last[0] + w[1] * columns.last[1] + v[0] * columns.last[2] + v[1] * columns.last[3],
    );
}

// Adds half a block's products of a lane's eight rows of a tile. Written out, for not every compiler unrolls a loop.
fn add_half_block(sums: ptr<function, array<mat2x4f, 8>>, base: u32, block: u32, row: u32, half: u32, columns: HalfBlock) {
    (*sums)[0] += row_products(base, block, row, half, columns);
    (*sums)[1] += row_products(base, block, row + ROWS_APART, half, columns);
    (*sums)[2] += row_products(base, block, row + 2u * ROWS_APART, half, columns);
    (*sums)[3] += row_products(base, block, row + 3u * ROWS_APART, half, columns);
    (*sums)[4] += row_products(base, block, row + 4u * ROWS_APART, half, columns);
    (*sums)[5] += row_products(base, block, row + 5u * ROWS_APART, half, columns);
    (*sums)[6] += row_products(base, block, row + 6u * ROWS_APART, half, columns);
    (*sums)[7] += row_products(base, block, row + 7u * ROWS_APART, half, columns);
}

// Four rows' products with token `t` of the first (0) or the last (1) four tokens.
fn four(sums: array<mat2x4f, 8>, row: u32, tokens: u32, t: u32) -> vec4f {
    return vec4f(sums[row][tokens][t], sums[row + 1u][tokens][t], sums[row + 2u][tokens][t], sums[row + 3u][tokens][t]);
}

@compute @workgroup_size(4, 2)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let first_token = (group.y * 2u + local.y) * 8u;
    if (first_token >= step.tokens) {
        return;
    }
    let tiles = tiles_of(group.x);
    let lane = local.x;
    let blocks = product.blocks;
    let apart = blocks * 8u;
    var low: array<mat2x4f, 8>;
    var high: array<mat2x4f, 8>;
    // One loop and not two, for each costs some compilers a copy of all sums.
    for (var turn = 0u; turn < 2u * blocks; turn++) {
        let half = half_block_of_x(first_token * apart + turn * 4u, apart, lane);
        add_half_block(&low, tiles.low, turn / 2u, lane, turn % 2u, half);
        add_half_block(&high, tiles.high, turn / 2u, lane, turn % 2u, half);
    }
    let p = product;
    for (var t = 0u; t < 4u; t++) {
        // Named one by one, for arrays that are reached by number would not be kept in registers.
        let first0 = EightRows(four(low, 0u, 0u, t), four(high, 0u, 0u, t));
        let last0 = EightRows(four(low, 4u, 0u, t), four(high, 4u, 0u, t));
        let first1 = EightRows(four(low, 0u, 1u, t), four(high, 0u, 1u, t));
        let last1 = EightRows(four(low, 4u, 1u, t), four(high, 4u, 1u, t));
        // One place that finishes rows, for a compiler copies what it calls.
        var scale = 1.0;
        for (var fourth = 0u; fourth < 4u; fourth++) {
            let token = first_token + fourth / 2u * 4u + t;
            if (token >= step.tokens) {
                break;
            }
            let last = fourth % 2u;
            if (last == 0u) {
                scale = scale_of(p, token, lane);
            }
            var rows = first0;
            if (fourth == 1u) {
                rows = last0;
            } else if (fourth == 2u) {
                rows = first1;
            } else if (fourth == 3u) {
                rows = last1;
            }
            finish(p, scale, token, group.x, lane + last * 16u, rows);
        }
    }
}
