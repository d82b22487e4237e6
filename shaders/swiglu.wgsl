// SwiGLU: gate[i] = silu(gate[i]) * up[i], silu(z) = z / (1 + e^-z), in place.
//
// Source: Shazeer 2020, "GLU Variants Improve Transformer".
// Joined in front: QUADS (vec4s in a token's row), step.wgsl.
//
// up      [tokens][QUADS] vec4
// gate    [tokens][QUADS] vec4
//
// An invocation produces one vec4.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> up: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> gate: array<vec4f>;

@compute @workgroup_size(64)
fn swiglu(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < step.tokens * QUADS) {
        let z = gate[id.x];
        gate[id.x] = z / (1.0 + exp(-z)) * up[id.x];
    }
}
