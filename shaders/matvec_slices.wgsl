// Matrix-vector product, the columns shared out over SLICES of four octets each: the products of all rows with the last token's x,
// handed to finish.wgsl.
//
// For real GPUs: LANES x 4 octets x SLICES invocations keep enough reads in flight; a lane has little to do between its reads, and
// what follows them is shared out, too. Three barriers, 10.1 KiB of workgroup memory. Joined in front: step.wgsl, an
// unpack_halves*.wgsl file, a weights_*.wgsl file, product.wgsl, which says what is bound, silu.wgsl, finish.wgsl, an x_*.wgsl file,
// finish_pair.wgsl.
//
// A workgroup produces the same 16 rows of two tiles, the lower or the higher ones: two do 64 rows. Lane l has the rows from 4 l on.

// For finish.wgsl's ends of fours of rows, which are not used here.
const ROWS_APART: u32 = 1u;
const LANES: u32 = 4u;
const SLICES: u32 = 16u;
// Rows of a workgroup, those of the second tile after those of the first.
const ROWS: u32 = 8u * LANES;
const INVOCATIONS: u32 = 4u * LANES * SLICES;

// [4 SLICES][ROWS]: sums that are still to be added up; then a sum of the stream's squares of each invocation.
var<workgroup> partial: array<f32, 4u * SLICES * ROWS + INVOCATIONS>;
// The same, eight of them added up: [SLICES / 2][ROWS], [ROWS].
var<workgroup> sums_of_eight: array<f32, SLICES / 2u * ROWS + ROWS>;

fn octet_dot(base: u32, block: u32, row: u32, octet: u32, columns: mat2x4f, sum: f32) -> f32 {
    let quants = quants8(base, block, row, octet);
    let scale = block_scale(base, block, row);
    let second = octet >= 2u;
    let products = dot(quants[0], columns[0]) + dot(quants[1], columns[1]);
    return products * select(scale.x, scale.y, second) + sum * select(scale.z, scale.w, second);
}

fn octet_dots(base: u32, block: u32, row: u32, octet: u32, columns: mat2x4f, sum: f32) -> vec4f {
    return vec4f(
        octet_dot(base, block, row, octet, columns, sum),
        octet_dot(base, block, row + 1u, octet, columns, sum),
        octet_dot(base, block, row + 2u, octet, columns, sum),
        octet_dot(base, block, row + 3u, octet, columns, sum),
    );
}

fn sum_of_eight(first: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
        sum += partial[first + i * ROWS];
    }
    return sum;
}

fn share_rows(at: u32, rows: vec4f) {
    partial[at] = rows.x;
    partial[at + 1u] = rows.y;
    partial[at + 2u] = rows.z;
    partial[at + 3u] = rows.w;
}

@compute @workgroup_size(256)
fn matvec_slices(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) index: u32) {
    let p = product;
    let token = step.tokens - 1u;
    let tile_pair = group.x / 2u;
    let half = group.x % 2u;
    let tiles = tiles_of(tile_pair);
    let lane = index % LANES;
    let part = index / LANES;
    let octet = part % 4u;
    let row = half * 4u * LANES + 4u * lane;
    var low = vec4f();
    var high = vec4f();
    for (var block = part / 4u; block < p.blocks; block += SLICES) {
        let at = (token * p.blocks + block) * 8u + 2u * octet;
        let columns = mat2x4f(x[at], x[at + 1u]);
        let sum = dot(columns[0] + columns[1], vec4f(1.0));
        let placed = mat2x4f(columns[0] * PLACES[0], columns[1] * PLACES[1]);
        low += octet_dots(tiles.low, block, row, octet, placed, sum);
        high += octet_dots(tiles.high, block, row, octet, placed, sum);
    }
    share_rows(part * ROWS + 4u * lane, low);
    share_rows(part * ROWS + ROWS / 2u + 4u * lane, high);
    // As scale_of, all together.
    var squared = vec4f();
    for (var i = index; i < select(0u, p.squares, p.normed != 0u); i += INVOCATIONS) {
        squared += squares[token * p.squares + i];
    }
    partial[4u * SLICES * ROWS + index] = dot(squared, vec4f(1.0));
    workgroupBarrier();
    sums_of_eight[index] = sum_of_eight(index / ROWS * 8u * ROWS + index % ROWS);
    if (index < ROWS) {
        sums_of_eight[INVOCATIONS + index] = sum_of_eight(4u * SLICES * ROWS + index);
    }
    workgroupBarrier();
    if (index < ROWS / 2u) {
        var rows = vec2f();
        for (var i = 0u; i < SLICES / 2u; i++) {
            rows += vec2f(sums_of_eight[i * ROWS + index], sums_of_eight[i * ROWS + ROWS / 2u + index]);
        }
        var sum = 0.0;
        for (var i = 0u; i < ROWS; i++) {
            sum += sums_of_eight[INVOCATIONS + i];
        }
        let scale = scale_from(p, sum);
        partial[index] = finish_pair(p, scale, token, tile_pair, half * 4u * LANES + index, rows.x, rows.y);
    }
    workgroupBarrier();
    if (index < LANES && p.end == JOINED) {
        let at = 4u * index;
        let four = (partial[at] + partial[at + 1u]) + (partial[at + 2u] + partial[at + 3u]);
        sums[token * 4u * p.squares + p.first_row / 8u + 8u * tile_pair + half * LANES + index] = four;
    }
}
