// SplitMix64 (Steele, Lea, Flood 2014), with numbers of 64 bits as (low, high): WGSL has none.

fn add64(a: vec2u, b: vec2u) -> vec2u {
    let low = a.x + b.x;
    return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

// Halves of 16 bits, so that no product or sum of them exceeds 32.
fn mul64(a: vec2u, b: vec2u) -> vec2u {
    let a0 = a.x & 0xffffu;
    let a1 = a.x >> 16u;
    let b0 = b.x & 0xffffu;
    let b1 = b.x >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    let high = a1 * b1 + (middle >> 16u) + (cross >> 16u);
    return vec2u((cross << 16u) | (low & 0xffffu), high + a.x * b.y + a.y * b.x);
}

// z ^ (z >> by), for 0 < by < 32.
fn folded64(z: vec2u, by: u32) -> vec2u {
    return z ^ vec2u((z.x >> by) | (z.y << (32u - by)), z.y >> by);
}

// Output `index`, counted from 0, of the generator seeded with `seed`.
fn splitmix64(seed: vec2u, index: u32) -> vec2u {
    // Index 2^32 - 1 is beyond any context.
    var z = add64(seed, mul64(vec2u(index + 1u, 0u), vec2u(0x7f4a7c15u, 0x9e3779b9u)));
    z = mul64(folded64(z, 30u), vec2u(0x1ce4e5b9u, 0xbf58476du));
    z = mul64(folded64(z, 27u), vec2u(0x133111ebu, 0x94d049bbu));
    return folded64(z, 31u);
}

// Of its upper 24 bits, a number in [0, 1).
fn uniform24(seed: vec2u, index: u32) -> f32 {
    return f32(splitmix64(seed, index).y >> 8u) * (1.0 / 16777216.0);
}
