// Matrix-matrix product for a chunk of tokens by way of workgroup memory: the products of all rows with each token's x, handed
// to finish.wgsl.
//
// For real GPUs: a weight is read and dequantised once for 64 tokens, and a value of x read once for 64 rows; each invocation
// then holds a tile of 8 rows x 4 tokens in registers. 16 KiB of workgroup memory, two barriers a block.
// Joined in front: as for matmul.wgsl. x has rows for tokens rounded up to 4.
//
// A workgroup produces 64 rows, those of two tiles, for 64 tokens.
const ROWS_APART: u32 = 8u;

// [32 columns][2 tiles][8 lanes][2]: two of a lane's four rows of a tile.
var<workgroup> shared_weights: array<vec2f, 1024>;
// [32 columns][16 fours of tokens]: four neighbouring tokens.
var<workgroup> shared_x: array<vec4f, 512>;

// What an invocation reads of a block: eight columns of two rows, and four columns of four tokens.
struct Share {
    first: mat2x4f,
    second: mat2x4f,
    // A vector for each column.
    columns: mat4x4f,
}

// Dequantises eight columns of the tile at `base`, and reads four of x, of which `at` is the place in the first token's row.
fn share_of(block: u32, base: u32, row: u32, octet: u32, at: u32) -> Share {
    let stride = product.blocks * 8u;
    var share: Share;
    share.first = weights8(base, block, row, octet, block_scale(base, block, row));
    share.second = weights8(base, block, row + 8u, octet, block_scale(base, block, row + 8u));
    share.columns = transpose(mat4x4f(x[at], x[at + stride], x[at + 2u * stride], x[at + 3u * stride]));
    return share;
}

// Puts it into the places that follow `place` and `x_place`.
fn put(share: Share, place: u32, x_place: u32) {
    shared_weights[place] = vec2f(share.first[0].x, share.second[0].x);
    shared_weights[place + 32u] = vec2f(share.first[0].y, share.second[0].y);
    shared_weights[place + 64u] = vec2f(share.first[0].z, share.second[0].z);
    shared_weights[place + 96u] = vec2f(share.first[0].w, share.second[0].w);
    shared_weights[place + 128u] = vec2f(share.first[1].x, share.second[1].x);
    shared_weights[place + 160u] = vec2f(share.first[1].y, share.second[1].y);
    shared_weights[place + 192u] = vec2f(share.first[1].z, share.second[1].z);
    shared_weights[place + 224u] = vec2f(share.first[1].w, share.second[1].w);
    shared_x[x_place] = share.columns[0];
    shared_x[x_place + 16u] = share.columns[1];
    shared_x[x_place + 32u] = share.columns[2];
    shared_x[x_place + 48u] = share.columns[3];
}

fn finish_if_there(token: u32, group: u32, lane: u32, low: vec4f, high: vec4f) {
    if (token < step.tokens) {
        finish_token(token, group, lane, EightRows(low, high));
    }
}

@compute @workgroup_size(128)
fn matmul_shared(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let tiles = tiles_of(group.x);
    // What it dequantises: two rows of a tile, an octet of columns.
    let lane = index % 8u;
    let octet = index / 8u % 4u;
    let tile = index / 32u % 2u;
    let base = select(tiles.low, tiles.high, tile == 1u);
    let two = index / 64u;
    let place = octet * 256u + tile * 16u + 2u * lane + two;
    let row = lane + 16u * two;
    // And what it reads of x, so that neighbouring invocations write to neighbouring places: past the last token there need not be
    // any x, and the first tokens' does as well.
    let x_four = index % 16u;
    let x_token = group.y * 64u + 4u * x_four;
    let quad = index / 16u;
    let x_at = select(0u, x_token, x_token < step.tokens) * product.blocks * 8u + quad;
    let x_place = quad * 64u + x_four;
    // What it computes: a lane's rows for these.
    let four = index / 8u;
    let token = group.y * 64u + 4u * four;
    // A column for each of the four tokens.
    var low = mat4x4f();
    var high = mat4x4f();
    // A block is read while the one before it is computed.
    var share = share_of(0u, base, row, octet, x_at);
    for (var block = 0u; block < product.blocks; block++) {
        put(share, place, x_place);
        workgroupBarrier();
        let next = min(block + 1u, product.blocks - 1u);
        share = share_of(next, base, row, octet, x_at + 8u * next);
        for (var k = 0u; k < 32u; k++) {
            let values = shared_x[k * 16u + four];
            let at = k * 32u + 2u * lane;
            let w = vec4f(shared_weights[at], shared_weights[at + 1u]);
            let v = vec4f(shared_weights[at + 16u], shared_weights[at + 17u]);
            low += mat4x4f(w * values.x, w * values.y, w * values.z, w * values.w);
            high += mat4x4f(v * values.x, v * values.y, v * values.z, v * values.w);
        }
        workgroupBarrier();
    }
    // Written out: matrices whose columns are looked up by number would not be kept in registers everywhere.
    finish_if_there(token, group.x, lane, low[0], high[0]);
    finish_if_there(token + 1u, group.x, lane, low[1], high[1]);
    finish_if_there(token + 2u, group.x, lane, low[2], high[2]);
    finish_if_there(token + 3u, group.x, lane, low[3], high[3]);
}
