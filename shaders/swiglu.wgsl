// SwiGLU: inner[t][i] = silu(gate[t][i]) * up[t][i], where gate and up could not be computed together: their formats differ.
//
// Joined in front: QUADS (vec4s in a token's row of each), silu.wgsl.
//
// gate_up  [tokens][2][QUADS] vec4
// inner    [tokens][QUADS] vec4
//
// An invocation produces one vec4.
@group(0) @binding(0) var<storage, read> gate_up: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> inner: array<vec4f>;

@compute @workgroup_size(64)
fn swiglu(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < QUADS) {
        let gate = 2u * id.y * QUADS + id.x;
        let four = gate_up[gate];
        inner[id.y * QUADS + id.x] = vec4f(silu(four.x), silu(four.y), silu(four.z), silu(four.w)) * gate_up[gate + QUADS];
    }
}
