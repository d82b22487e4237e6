// Matrix-matrix product for a chunk of tokens with x rounded to bytes: sixteen columns of a token share a scale, the largest
// magnitude over 127. Not exact, and only where it is asked for: four products are one instruction on GPUs that have it.
//
// Of each run: sum of (scale b + offset) s r = scale s * (sum of b r) + offset s * (sum of r), with bytes b of a row's weights and
// r of a token's columns, s = max |x| / 127, r = round(x / s).
//
// Source: Dettmers et al. 2022, "LLM.int8()" (a scale for each run of x); llama.cpp's mmq kernels do the same with runs of 32.
// Joined in front: step.wgsl, an unpack_halves*.wgsl file, a weights_*.wgsl file, product.wgsl, which says what is bound,
// silu.wgsl, finish.wgsl, x_alone.wgsl, a bytes_*.wgsl file, which defines
//
// BYTES_BELOW                                how much the bytes are below the quants of the weights_*.wgsl file
// bytes_of_weights(base, block, row, octet)  eight quants in two words
// bytes_of_x(low, high)                      eight rounded columns of x in the same order
//
// x has a row for each token. A workgroup produces 64 rows, those of two tiles, for 32 tokens; an invocation 8 rows x 4 tokens.
// 4.5 KiB of workgroup memory, two barriers a block.
const ROWS_APART: u32 = 8u;

// [2 halves of a block][4 words][2 tiles][8 lanes]: a word of each of a lane's four rows of a tile.
var<workgroup> shared_weights: array<vec4u, 128>;
// [2 halves][2 tiles][8 lanes]: their scales, and what is added to a weight.
var<workgroup> scales: array<vec4f, 32>;
var<workgroup> offsets: array<vec4f, 32>;
// [2 halves][4 words][32 tokens]
var<workgroup> shared_x: array<u32, 256>;
// [2 halves][32 tokens]: scale, and sum of the rounded columns.
var<workgroup> x_scales: array<vec2f, 64>;

// Reads one octet of four rows of the tile at `base`; `place`: that of the lane among those of both tiles.
fn share_weights(base: u32, block: u32, lane: u32, octet: u32, place: u32) {
    let w0 = bytes_of_weights(base, block, lane, octet);
    let w1 = bytes_of_weights(base, block, lane + 8u, octet);
    let w2 = bytes_of_weights(base, block, lane + 16u, octet);
    let w3 = bytes_of_weights(base, block, lane + 24u, octet);
    shared_weights[octet * 32u + place] = vec4u(w0.x, w1.x, w2.x, w3.x);
    shared_weights[octet * 32u + 16u + place] = vec4u(w0.y, w1.y, w2.y, w3.y);
    if ((octet & 1u) == 0u) {
        let half = octet / 2u;
        let s0 = block_scale(base, block, lane);
        let s1 = block_scale(base, block, lane + 8u);
        let s2 = block_scale(base, block, lane + 16u);
        let s3 = block_scale(base, block, lane + 24u);
        let scale = vec4f(s0[half], s1[half], s2[half], s3[half]);
        scales[half * 16u + place] = scale;
        let offset = vec4f(s0[half + 2u], s1[half + 2u], s2[half + 2u], s3[half + 2u]);
        offsets[half * 16u + place] = offset + BYTES_BELOW * scale;
    }
}

fn magnitudes(columns: vec4f) -> vec4u {
    return bitcast<vec4u>(columns) & vec4u(0x7fffffffu);
}

// Rounds sixteen columns of a token, of which the first are at `at`.
fn share_x(at: u32, half: u32, token: u32) {
    let columns = mat4x4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    // Magnitudes are in order as integers, too, with those that are not a number above all: none of these is lost.
    let four = max(max(magnitudes(columns[0]), magnitudes(columns[1])), max(magnitudes(columns[2]), magnitudes(columns[3])));
    let most = bitcast<f32>(max(max(four.x, four.y), max(four.z, four.w)));
    // Below it, the reciprocal might not be finite.
    let inverse = select(0.0, 127.0 / most, most > 1e-30);
    let q0 = vec4i(round(columns[0] * inverse));
    let q1 = vec4i(round(columns[1] * inverse));
    let q2 = vec4i(round(columns[2] * inverse));
    let q3 = vec4i(round(columns[3] * inverse));
    let sum = (q0 + q1) + (q2 + q3);
    let scale = most / 127.0;
    x_scales[half * 32u + token] = vec2f(scale, scale * f32((sum.x + sum.y) + (sum.z + sum.w)));
    let first = bytes_of_x(q0, q1);
    let last = bytes_of_x(q2, q3);
    shared_x[half * 128u + token] = first.x;
    shared_x[half * 128u + 32u + token] = first.y;
    shared_x[half * 128u + 64u + token] = last.x;
    shared_x[half * 128u + 96u + token] = last.y;
}

fn dots(words: vec4u, x_word: u32) -> vec4i {
    return vec4i(
        dot4I8Packed(words.x, x_word),
        dot4I8Packed(words.y, x_word),
        dot4I8Packed(words.z, x_word),
        dot4I8Packed(words.w, x_word),
    );
}

// Half a block's products of four rows with a token, of which the first word is at `at`.
fn half_block(half: u32, place: u32, token: u32) -> vec4f {
    var sum = vec4i();
    for (var word = 0u; word < 4u; word++) {
        let at = half * 4u + word;
        sum += dots(shared_weights[at * 16u + place], shared_x[at * 32u + token]);
    }
    let scale = x_scales[half * 32u + token];
    return scales[half * 16u + place] * (vec4f(sum) * scale.x) + offsets[half * 16u + place] * scale.y;
}

@compute @workgroup_size(64)
fn matmul_bytes(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let tiles = tiles_of(group.x);
    let lane = index & 7u;
    let octet = (index >> 3u) & 3u;
    let base = select(tiles.low, tiles.high, index >= 32u);
    let place = (index >> 5u) * 8u + lane;
    let first_token = group.y * 32u;
    let own = (index >> 3u) * 4u;
    // A column for each of the four tokens.
    var low = mat4x4f();
    var high = mat4x4f();
    for (var block = 0u; block < product.blocks; block++) {
        share_weights(base, block, lane, octet, place);
        // Past the last token there need not be any x.
        let half = index & 1u;
        let token = first_token + (index >> 1u);
        if (token < step.tokens) {
            share_x((token * product.blocks + block) * 8u + half * 4u, half, index >> 1u);
        }
        workgroupBarrier();
        for (var t = 0u; t < 4u; t++) {
            low[t] += half_block(0u, lane, own + t) + half_block(1u, lane, own + t);
            high[t] += half_block(0u, lane + 8u, own + t) + half_block(1u, lane + 8u, own + t);
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < 4u; t++) {
        if (first_token + own + t < step.tokens) {
            finish_token(first_token + own + t, group.x, lane, EightRows(low[t], high[t]));
        }
    }
}
