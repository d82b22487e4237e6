// Bits of a word as numbers, masked where they stand: on processors, vectors are shifted lane by lane. Only the last mask may
// have the highest bit.
fn masked(word: u32, masks: vec4u) -> vec4f {
    let bits = vec4u(word) & masks;
    // By way of i32 where there is no sign to mistake: converting u32 takes several instructions on processors.
    return vec4f(vec3f(vec3i(bits.xyz)), f32(bits.w));
}
