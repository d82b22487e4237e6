// SwiGLU: inner[t][i] = silu(gate[t][i]) * up[t][i], where gate and up could not be computed together: their formats differ.
//
// Joined in front: QUADS (vec4s in a token's row of each), step.wgsl, silu.wgsl.
//
// gate_up  [tokens][2][QUADS] vec4
// inner    [tokens][QUADS] vec4
//
// An invocation produces one vec4.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> gate_up: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> inner: array<vec4f>;

@compute @workgroup_size(64)
fn swiglu(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < step.tokens * QUADS) {
        let gate = id.x + id.x / QUADS * QUADS;
        inner[id.x] = silu(gate_up[gate]) * gate_up[gate + QUADS];
    }
}
