// Residual add: x[i] += y[i].
//
// Joined in front: QUADS (vec4s in a token's row), step.wgsl.
//
// y       [tokens][QUADS] vec4
// x       [tokens][QUADS] vec4
//
// An invocation produces one vec4.
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4f>;

@compute @workgroup_size(64)
fn add(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < step.tokens * QUADS) {
        x[id.x] += y[id.x];
    }
}
